-- Kinds of music, as a tree of two levels or more. Seeded here; grows by requests (35_custom_fields.sql).

create table public.genres (
    id uuid not null default gen_random_uuid(),
    parent_genre_id uuid,
    name text not null,
    slug text not null,
    is_active boolean not null default true,
    is_admin_approved boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint genres_pkey primary key (id),
    constraint genres_slug_key unique (slug),
    constraint genres_parent_genre_id_fkey foreign key (parent_genre_id) references public.genres (id),
    constraint genres_parent_genre_id_check check (parent_genre_id <> id),
    constraint genres_name_check check (private.is_field_name(name)),
    constraint genres_slug_check check (private.is_slug(slug))
);

create index genres_parent_genre_id_name_idx on public.genres (parent_genre_id, name);
create unique index genres_normal_name_idx on public.genres (private.normal_form(name));

-- What a client that breaks these is told, see error_catalog().
comment on index public.genres_normal_name_idx is 'genre_exists: There is a genre of this name.';
comment on constraint genres_name_check on public.genres is
'invalid_name: A genre has 2 to 60 characters and no markup.';
comment on constraint genres_parent_genre_id_check on public.genres is 'invalid_genre: A genre is not its own parent.';
comment on constraint genres_parent_genre_id_fkey on public.genres is 'choice_not_available: There is no such genre.';

comment on table public.genres is
'Genres and their sub-genres. Everybody reads active and approved ones; admins read and change all, audited.';
comment on column public.genres.parent_genre_id is 'The wider genre; null for the main ones.';
comment on column public.genres.name is 'Name to show, 2 to 60 characters, unique in its normal form.';
comment on column public.genres.slug is 'Stable key in addresses.';
comment on column public.genres.is_active is
'False withdraws it: nobody can choose it and nobody but admins sees it, also on profiles that have it.';
comment on column public.genres.is_admin_approved is 'Seeded, approved or agreed on by enough members. False hides it.';

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name on public.genres
for each row execute function private.tidy_texts('name line required');

create trigger touch_updated_at before update on public.genres
for each row execute function private.touch_updated_at();
create trigger audit_taxonomy after update on public.genres
for each row execute function private.audit_taxonomy();

alter table public.genres enable row level security;
grant select on public.genres to anon, authenticated, service_role;
grant update (parent_genre_id, name, is_active, is_admin_approved) on public.genres to authenticated;

create policy genres_select_anon on public.genres for select to anon
using (is_active and is_admin_approved);
create policy genres_select on public.genres for select to authenticated
using ((is_active and is_admin_approved) or (select private.is_admin()));
create policy genres_update on public.genres for update to authenticated
using ((select private.is_admin()))
with check ((select private.is_admin()));

-- The key is the slug; ids follow from it, so that they are the same in every database.
with seed (name, slug, parent) as (
    values
('Blues', 'blues', null::text), ('Classical', 'classical', null), ('Country', 'country', null),
('Electronic', 'electronic', null), ('Folk', 'folk', null), ('Funk', 'funk', null), ('Gospel', 'gospel', null),
('Hip-Hop', 'hip-hop', null), ('Jazz', 'jazz', null), ('Latin', 'latin', null), ('Metal', 'metal', null),
('Pop', 'pop', null), ('Punk', 'punk', null), ('R&B', 'r-and-b', null), ('Reggae', 'reggae', null),
('Rock', 'rock', null), ('Soul', 'soul', null), ('Disco', 'disco', null), ('World', 'world', null),
('Soundtrack', 'soundtrack', null), ('Experimental', 'experimental', null),
('Delta Blues', 'delta-blues', 'blues'), ('Chicago Blues', 'chicago-blues', 'blues'),
('Electric Blues', 'electric-blues', 'blues'),
('Baroque', 'baroque', 'classical'), ('Romantic', 'romantic', 'classical'), ('Opera', 'opera', 'classical'),
('Chamber Music', 'chamber-music', 'classical'), ('Choral', 'choral', 'classical'),
('Minimalism', 'minimalism', 'classical'), ('Contemporary Classical', 'contemporary-classical', 'classical'),
('Bluegrass', 'bluegrass', 'country'), ('Americana', 'americana', 'country'),
('Outlaw Country', 'outlaw-country', 'country'), ('Country Pop', 'country-pop', 'country'),
('House', 'house', 'electronic'), ('Techno', 'techno', 'electronic'), ('Trance', 'trance', 'electronic'),
('Drum & Bass', 'drum-and-bass', 'electronic'), ('Dubstep', 'dubstep', 'electronic'),
('Ambient', 'ambient', 'electronic'), ('Downtempo', 'downtempo', 'electronic'),
('Synthwave', 'synthwave', 'electronic'), ('IDM', 'idm', 'electronic'), ('Electro', 'electro', 'electronic'),
('Hardstyle', 'hardstyle', 'electronic'), ('UK Garage', 'uk-garage', 'electronic'),
('Breakbeat', 'breakbeat', 'electronic'), ('Electronica', 'electronica', 'electronic'),
('Deep House', 'deep-house', 'house'), ('Tech House', 'tech-house', 'house'),
('Progressive House', 'progressive-house', 'house'), ('Afro House', 'afro-house', 'house'),
('Acid House', 'acid-house', 'house'),
('Minimal Techno', 'minimal-techno', 'techno'), ('Detroit Techno', 'detroit-techno', 'techno'),
('Jungle', 'jungle', 'drum-and-bass'), ('Liquid Drum & Bass', 'liquid-drum-and-bass', 'drum-and-bass'),
('Indie Folk', 'indie-folk', 'folk'), ('Celtic', 'celtic', 'folk'), ('Singer-Songwriter', 'singer-songwriter', 'folk'),
('Sevdalinka', 'sevdalinka', 'folk'), ('Balkan Folk', 'balkan-folk', 'folk'),
('P-Funk', 'p-funk', 'funk'),
('Trap', 'trap', 'hip-hop'), ('Boom Bap', 'boom-bap', 'hip-hop'), ('Drill', 'drill', 'hip-hop'),
('Lo-fi Hip-Hop', 'lo-fi-hip-hop', 'hip-hop'), ('Conscious Hip-Hop', 'conscious-hip-hop', 'hip-hop'),
('Grime', 'grime', 'hip-hop'),
('Bebop', 'bebop', 'jazz'), ('Swing', 'swing', 'jazz'), ('Cool Jazz', 'cool-jazz', 'jazz'),
('Fusion', 'fusion', 'jazz'), ('Free Jazz', 'free-jazz', 'jazz'), ('Smooth Jazz', 'smooth-jazz', 'jazz'),
('Latin Jazz', 'latin-jazz', 'jazz'),
('Salsa', 'salsa', 'latin'), ('Bachata', 'bachata', 'latin'), ('Reggaeton', 'reggaeton', 'latin'),
('Cumbia', 'cumbia', 'latin'), ('Bossa Nova', 'bossa-nova', 'latin'), ('Samba', 'samba', 'latin'),
('Tango', 'tango', 'latin'), ('Merengue', 'merengue', 'latin'), ('Mariachi', 'mariachi', 'latin'),
('Heavy Metal', 'heavy-metal', 'metal'), ('Thrash Metal', 'thrash-metal', 'metal'),
('Death Metal', 'death-metal', 'metal'), ('Black Metal', 'black-metal', 'metal'), ('Doom Metal', 'doom-metal', 'metal'),
('Metalcore', 'metalcore', 'metal'), ('Progressive Metal', 'progressive-metal', 'metal'),
('Synth-pop', 'synth-pop', 'pop'), ('Indie Pop', 'indie-pop', 'pop'), ('Dance-pop', 'dance-pop', 'pop'),
('Electropop', 'electropop', 'pop'), ('K-pop', 'k-pop', 'pop'), ('J-pop', 'j-pop', 'pop'),
('Dream Pop', 'dream-pop', 'pop'), ('Hyperpop', 'hyperpop', 'pop'),
('Hardcore Punk', 'hardcore-punk', 'punk'), ('Pop Punk', 'pop-punk', 'punk'), ('Post-punk', 'post-punk', 'punk'),
('Contemporary R&B', 'contemporary-r-and-b', 'r-and-b'), ('Neo Soul', 'neo-soul', 'r-and-b'),
('New Jack Swing', 'new-jack-swing', 'r-and-b'),
('Dub', 'dub', 'reggae'), ('Ska', 'ska', 'reggae'), ('Dancehall', 'dancehall', 'reggae'),
('Roots Reggae', 'roots-reggae', 'reggae'),
('Classic Rock', 'classic-rock', 'rock'), ('Alternative Rock', 'alternative-rock', 'rock'),
('Indie Rock', 'indie-rock', 'rock'), ('Progressive Rock', 'progressive-rock', 'rock'),
('Hard Rock', 'hard-rock', 'rock'), ('Psychedelic Rock', 'psychedelic-rock', 'rock'),
('Post-rock', 'post-rock', 'rock'), ('Grunge', 'grunge', 'rock'), ('Shoegaze', 'shoegaze', 'rock'),
('Garage Rock', 'garage-rock', 'rock'),
('Motown', 'motown', 'soul'), ('Northern Soul', 'northern-soul', 'soul'),
('Nu-disco', 'nu-disco', 'disco'), ('Italo Disco', 'italo-disco', 'disco'),
('Afrobeat', 'afrobeat', 'world'), ('Afrobeats', 'afrobeats', 'world'), ('Amapiano', 'amapiano', 'world'),
('Highlife', 'highlife', 'world'), ('Klezmer', 'klezmer', 'world'), ('Flamenco', 'flamenco', 'world'),
('Qawwali', 'qawwali', 'world'), ('Fado', 'fado', 'world'),
('Film Score', 'film-score', 'soundtrack'), ('Video Game Music', 'video-game-music', 'soundtrack'),
('Musical Theatre', 'musical-theatre', 'soundtrack'),
('Noise', 'noise', 'experimental'), ('Musique Concrète', 'musique-concrete', 'experimental'),
('Drone', 'drone', 'experimental')
),

genre as (
    select
        coalesce(g.id, md5('avenue genre ' || s.slug)::uuid) as id,
        s.*
    from seed as s
    left join public.genres as g on g.slug = s.slug
)

insert into public.genres as g (id, parent_genre_id, name, slug)
select
    c.id,
    p.id as parent_genre_id,
    c.name,
    c.slug
from genre as c
left join genre as p on p.slug = c.parent;

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('genre', 'public.genres', null, null, '{}');
