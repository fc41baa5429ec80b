-- Values that stand in many tables: each has one form and one bound, and these say which. Constraints ask them, so does
-- whatever has to refuse before a constraint would. What is a function here, a domain or each table's own is said in
-- docs/conventions.md, "Values".
--
-- In plpgsql: a function with a fixed search_path is never inlined, and SQL ones are planned again for each statement.

create function private.lowest_price_cents() returns bigint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return 50;
end
$$;
comment on function private.lowest_price_cents() is
'The least that is charged: what a card payment costs and providers take (docs/money.md). Free is 0.';

create function private.highest_amount_cents() returns bigint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return 99999999;
end
$$;
comment on function private.highest_amount_cents() is 'The largest charge: the providers'' eight digits.';

create function private.is_price(cents bigint) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return cents = 0 or cents between private.lowest_price_cents() and private.highest_amount_cents();
end
$$;
comment on function private.is_price(bigint) is
'Whether something can have this price: free, or what can be charged. Null for null.';

create function private.is_slug(value text) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return value ~ '^[a-z0-9]+(-[a-z0-9]+)*$';
end
$$;
comment on function private.is_slug(text) is
'Whether this can stand in an address: words of a-z and 0-9 joined by single hyphens. Null for null.';

create function private.is_uuid(value text) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return value ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
end
$$;
comment on function private.is_uuid(text) is 'Whether a text from outside can be cast to uuid. Null for null.';

create function private.page_size(wanted integer, usual integer default 20, most integer default 100) returns integer
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return least(greatest(coalesce(wanted, usual), 1), most);
end
$$;
comment on function private.page_size(integer, integer, integer) is
'How many rows a page has: what the caller wants, at least 1 and no more than most; usual when they do not say.';

create function private.last_uuid() returns uuid
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    return uuid 'ffffffff-ffff-ffff-ffff-ffffffffffff';
end
$$;
comment on function private.last_uuid() is
'The id after all others: where a page begins whose caller names a time and no id.';

-- What pages in its caller's name: visitors too.
grant execute on function private.page_size(integer, integer, integer), private.last_uuid() to anon, authenticated;

-- Members write rows themselves, with constraints that ask.
grant execute on function
private.lowest_price_cents(), private.highest_amount_cents(), private.is_price(bigint), private.is_slug(text)
to authenticated;
