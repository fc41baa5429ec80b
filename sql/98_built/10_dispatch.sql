-- What is written from rows, once all pages have brought theirs.

select private.build_dispatch();
