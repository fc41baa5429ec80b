-- Taxonomy.
-- Skills and genres with their reference data, what people choose of them, and how members ask for more.

-- Whoever waits for a lock makes all others wait behind it: give up soon instead, and run again.
set lock_timeout = '10s';

-- sql/10_identity/26_skills.sql ---------------------------------------------------------------------------------------
-- What people can do, under the categories. Seeded here; grows by requests (35_custom_fields.sql).

create table public.skills (
    id uuid not null default gen_random_uuid(),
    category_id uuid,
    name text not null,
    slug text not null,
    is_active boolean not null default true,
    is_admin_approved boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint skills_pkey primary key (id),
    constraint skills_slug_key unique (slug),
    constraint skills_category_id_fkey foreign key (category_id) references public.categories (id),
    constraint skills_name_check check (
        char_length(name) between 2 and 60 and name = btrim(name) and name !~ '[[:cntrl:]<>\u202A-\u202E\u2066-\u2069]'
    ),
    constraint skills_slug_check check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$')
);

create index skills_category_id_name_idx on public.skills (category_id, name);
-- A skill exists once on the platform: "Arranging" is the same for a musician and for a producer.
create unique index skills_normal_name_idx on public.skills (private.normal_form(name));

comment on table public.skills is
'Skills, each listed under one category and open to everybody. Everybody reads active and approved ones; admins read '
'and change all, audited.';
comment on column public.skills.category_id is
'Under which category it is listed; null while nobody sorted it (a request that named none).';
comment on column public.skills.name is 'Name to show, 2 to 60 characters, unique in its normal form.';
comment on column public.skills.slug is 'Stable key in addresses.';
comment on column public.skills.is_active is
'False withdraws it: nobody can choose it and nobody but admins sees it, also on profiles that have it.';
comment on column public.skills.is_admin_approved is 'Seeded, approved or agreed on by enough members. False hides it.';

create trigger touch_updated_at before update on public.skills
for each row execute function private.touch_updated_at();

create function private.audit_taxonomy() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Migrations that correct reference data are nobody's action.
    if auth.uid() is not null then
        perform private.audit(
            'update_' || tg_table_name, tg_table_name, new.id,
            jsonb_build_object(
                'before', to_jsonb(old) - '{id,created_at,updated_at}'::text [],
                'after', to_jsonb(new) - '{id,created_at,updated_at}'::text []
            )
        );
    end if;
    return null;
end
$$;
comment on function private.audit_taxonomy() is 'Trigger: what admins change in skills and genres is in the audit log.';

create trigger audit_taxonomy after update on public.skills
for each row execute function private.audit_taxonomy();

alter table public.skills enable row level security;
revoke all on public.skills from anon, authenticated, service_role;
grant select on public.skills to anon, authenticated, service_role;
grant update (category_id, name, is_active, is_admin_approved) on public.skills to authenticated;

create policy skills_select_anon on public.skills for select to anon
using (is_active and is_admin_approved);
create policy skills_select on public.skills for select to authenticated
using ((is_active and is_admin_approved) or (select private.is_admin()));
create policy skills_update on public.skills for update to authenticated
using ((select private.is_admin()))
with check ((select private.is_admin()));

-- The key is the slug; ids follow from it, so that they are the same in every database.
insert into public.skills as s (id, category_id, name, slug)
select md5('avenue skill ' || v.slug)::uuid, c.id, v.name, v.slug
from (
    values
('musician', 'Acoustic Guitar', 'acoustic-guitar'), ('musician', 'Electric Guitar', 'electric-guitar'),
('musician', 'Bass Guitar', 'bass-guitar'), ('musician', 'Double Bass', 'double-bass'), ('musician', 'Piano', 'piano'),
('musician', 'Keyboards', 'keyboards'), ('musician', 'Synthesizer', 'synthesizer'),
('musician', 'Hammond Organ', 'hammond-organ'), ('musician', 'Drums', 'drums'),
('musician', 'Percussion', 'percussion'), ('musician', 'Violin', 'violin'), ('musician', 'Viola', 'viola'),
('musician', 'Cello', 'cello'), ('musician', 'Harp', 'harp'), ('musician', 'Flute', 'flute'),
('musician', 'Clarinet', 'clarinet'), ('musician', 'Oboe', 'oboe'), ('musician', 'Bassoon', 'bassoon'),
('musician', 'Saxophone', 'saxophone'), ('musician', 'Trumpet', 'trumpet'), ('musician', 'Trombone', 'trombone'),
('musician', 'French Horn', 'french-horn'), ('musician', 'Accordion', 'accordion'),
('musician', 'Harmonica', 'harmonica'), ('musician', 'Mandolin', 'mandolin'), ('musician', 'Banjo', 'banjo'),
('musician', 'Ukulele', 'ukulele'), ('musician', 'Sitar', 'sitar'), ('musician', 'Tabla', 'tabla'),
('musician', 'Live Looping', 'live-looping'), ('musician', 'Session Musician', 'session-musician'),
('musician', 'Improvisation', 'improvisation'), ('musician', 'Composition', 'composition'),
('producer-engineer', 'Beat Making', 'beat-making'), ('producer-engineer', 'Music Production', 'music-production'),
('producer-engineer', 'Recording Engineering', 'recording-engineering'), ('producer-engineer', 'Mixing', 'mixing'),
('producer-engineer', 'Mastering', 'mastering'), ('producer-engineer', 'Stem Mastering', 'stem-mastering'),
('producer-engineer', 'Vocal Production', 'vocal-production'), ('producer-engineer', 'Vocal Tuning', 'vocal-tuning'),
('producer-engineer', 'Dolby Atmos Mixing', 'dolby-atmos-mixing'),
('producer-engineer', 'Sound Design', 'sound-design'), ('producer-engineer', 'Remixing', 'remixing'),
('producer-engineer', 'Arranging', 'arranging'), ('producer-engineer', 'Orchestration', 'orchestration'),
('producer-engineer', 'MIDI Programming', 'midi-programming'),
('producer-engineer', 'Drum Programming', 'drum-programming'), ('producer-engineer', 'Sampling', 'sampling'),
('producer-engineer', 'Film Scoring', 'film-scoring'), ('producer-engineer', 'Game Audio', 'game-audio'),
('producer-engineer', 'Podcast Editing', 'podcast-editing'), ('producer-engineer', 'Live Sound', 'live-sound'),
('producer-engineer', 'Audio Restoration', 'audio-restoration'), ('producer-engineer', 'Ableton Live', 'ableton-live'),
('producer-engineer', 'Logic Pro', 'logic-pro'), ('producer-engineer', 'Pro Tools', 'pro-tools'),
('producer-engineer', 'FL Studio', 'fl-studio'), ('producer-engineer', 'Cubase', 'cubase'),
('producer-engineer', 'Studio One', 'studio-one'), ('producer-engineer', 'Reaper', 'reaper'),
('producer-engineer', 'DJing', 'djing'), ('producer-engineer', 'Turntablism', 'turntablism'),
('vocalist', 'Lead Vocals', 'lead-vocals'), ('vocalist', 'Backing Vocals', 'backing-vocals'),
('vocalist', 'Vocal Harmonies', 'vocal-harmonies'), ('vocalist', 'Rapping', 'rapping'),
('vocalist', 'Freestyle Rapping', 'freestyle-rapping'), ('vocalist', 'Beatboxing', 'beatboxing'),
('vocalist', 'Opera Singing', 'opera-singing'), ('vocalist', 'Jazz Singing', 'jazz-singing'),
('vocalist', 'Gospel Singing', 'gospel-singing'), ('vocalist', 'Choir Singing', 'choir-singing'),
('vocalist', 'Toplining', 'toplining'), ('vocalist', 'Songwriting', 'songwriting'),
('vocalist', 'Lyric Writing', 'lyric-writing'), ('vocalist', 'Ad-libs', 'ad-libs'),
('vocalist', 'Voice Over', 'voice-over'), ('vocalist', 'Voice Acting', 'voice-acting'),
('vocalist', 'Spoken Word', 'spoken-word'), ('vocalist', 'Scat Singing', 'scat-singing'),
('vocalist', 'Throat Singing', 'throat-singing'), ('vocalist', 'Screaming Vocals', 'screaming-vocals'),
('visual-artist', 'Album Cover Design', 'album-cover-design'), ('visual-artist', 'Illustration', 'illustration'),
('visual-artist', 'Graphic Design', 'graphic-design'), ('visual-artist', 'Logo Design', 'logo-design'),
('visual-artist', 'Typography', 'typography'), ('visual-artist', 'Photography', 'photography'),
('visual-artist', 'Concert Photography', 'concert-photography'),
('visual-artist', 'Photo Retouching', 'photo-retouching'), ('visual-artist', 'Painting', 'painting'),
('visual-artist', 'Digital Painting', 'digital-painting'), ('visual-artist', 'Street Art', 'street-art'),
('visual-artist', '3D Modeling', '3d-modeling'), ('visual-artist', '3D Animation', '3d-animation'),
('visual-artist', 'Motion Graphics', 'motion-graphics'), ('visual-artist', 'Video Directing', 'video-directing'),
('visual-artist', 'Video Editing', 'video-editing'), ('visual-artist', 'Color Grading', 'color-grading'),
('visual-artist', 'Music Video Production', 'music-video-production'),
('visual-artist', 'Lyric Videos', 'lyric-videos'), ('visual-artist', 'VJing', 'vjing'),
('visual-artist', 'Stage Design', 'stage-design'), ('visual-artist', 'Lighting Design', 'lighting-design'),
('visual-artist', 'Merchandise Design', 'merchandise-design'), ('visual-artist', 'Tattoo Design', 'tattoo-design'),
('educator', 'Guitar Lessons', 'guitar-lessons'), ('educator', 'Piano Lessons', 'piano-lessons'),
('educator', 'Drum Lessons', 'drum-lessons'), ('educator', 'Singing Lessons', 'singing-lessons'),
('educator', 'Violin Lessons', 'violin-lessons'), ('educator', 'Music Theory', 'music-theory'),
('educator', 'Ear Training', 'ear-training'), ('educator', 'Sight Reading', 'sight-reading'),
('educator', 'Production Lessons', 'production-lessons'), ('educator', 'Mixing Lessons', 'mixing-lessons'),
('educator', 'Songwriting Coaching', 'songwriting-coaching'),
('educator', 'Performance Coaching', 'performance-coaching'), ('educator', 'Career Mentoring', 'career-mentoring'),
('educator', 'Workshop Hosting', 'workshop-hosting'), ('educator', 'Course Creation', 'course-creation'),
('educator', 'Choir Conducting', 'choir-conducting'), ('educator', 'Music Therapy', 'music-therapy'),
('content-creator', 'Live Streaming', 'live-streaming'), ('content-creator', 'Podcasting', 'podcasting'),
('content-creator', 'Vlogging', 'vlogging'), ('content-creator', 'Short-form Video', 'short-form-video'),
('content-creator', 'YouTube Production', 'youtube-production'), ('content-creator', 'Music Reviews', 'music-reviews'),
('content-creator', 'Gear Reviews', 'gear-reviews'), ('content-creator', 'Tutorial Videos', 'tutorial-videos'),
('content-creator', 'Music Journalism', 'music-journalism'), ('content-creator', 'Blogging', 'blogging'),
('content-creator', 'Copywriting', 'copywriting'),
('content-creator', 'Social Media Management', 'social-media-management'),
('content-creator', 'Community Management', 'community-management'),
('content-creator', 'Playlist Curation', 'playlist-curation'),
('content-creator', 'Reaction Videos', 'reaction-videos'), ('content-creator', 'Scriptwriting', 'scriptwriting'),
('content-creator', 'Interviewing', 'interviewing'),
('industry-professional', 'Artist Management', 'artist-management'),
('industry-professional', 'Tour Management', 'tour-management'), ('industry-professional', 'Booking', 'booking'),
('industry-professional', 'Event Promotion', 'event-promotion'), ('industry-professional', 'A&R', 'a-and-r'),
('industry-professional', 'Music Publishing', 'music-publishing'),
('industry-professional', 'Sync Licensing', 'sync-licensing'),
('industry-professional', 'Music Supervision', 'music-supervision'),
('industry-professional', 'Entertainment Law', 'entertainment-law'),
('industry-professional', 'Copyright Law', 'copyright-law'),
('industry-professional', 'Royalty Accounting', 'royalty-accounting'),
('industry-professional', 'Music Distribution', 'music-distribution'),
('industry-professional', 'Public Relations', 'public-relations'),
('industry-professional', 'Radio Promotion', 'radio-promotion'),
('industry-professional', 'Music Marketing', 'music-marketing'),
('industry-professional', 'Brand Partnerships', 'brand-partnerships'),
('industry-professional', 'Record Label Management', 'record-label-management'),
('industry-professional', 'Venue Management', 'venue-management'),
('industry-professional', 'Grant Writing', 'grant-writing'),
('industry-professional', 'Stage Management', 'stage-management'),
('music-tools-creator', 'Plug-in Development', 'plug-in-development'),
('music-tools-creator', 'DSP Programming', 'dsp-programming'),
('music-tools-creator', 'Max for Live Devices', 'max-for-live-devices'), ('music-tools-creator', 'Max/MSP', 'max-msp'),
('music-tools-creator', 'Pure Data', 'pure-data'), ('music-tools-creator', 'SuperCollider', 'supercollider'),
('music-tools-creator', 'Sample Pack Creation', 'sample-pack-creation'),
('music-tools-creator', 'Loop Creation', 'loop-creation'), ('music-tools-creator', 'Preset Design', 'preset-design'),
('music-tools-creator', 'Drum Kit Creation', 'drum-kit-creation'),
('music-tools-creator', 'Impulse Responses', 'impulse-responses'),
('music-tools-creator', 'Virtual Instruments', 'virtual-instruments'),
('music-tools-creator', 'Kontakt Scripting', 'kontakt-scripting'),
('music-tools-creator', 'Instrument Building', 'instrument-building'),
('music-tools-creator', 'Guitar Luthiery', 'guitar-luthiery'),
('music-tools-creator', 'Modular Synth Building', 'modular-synth-building'),
('music-tools-creator', 'Guitar Pedal Building', 'guitar-pedal-building'),
('music-tools-creator', 'Music App Development', 'music-app-development'),
('music-tools-creator', 'Sheet Music Engraving', 'sheet-music-engraving'),
('music-tools-creator', 'Project Templates', 'project-templates')
) as v (category, name, slug)
inner join public.categories as c on c.slug::text = v.category
on conflict (slug) do update set category_id = excluded.category_id, name = excluded.name
where (s.category_id, s.name) is distinct from (excluded.category_id, excluded.name);

-- sql/10_identity/27_genres.sql ---------------------------------------------------------------------------------------
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
    constraint genres_name_check check (
        char_length(name) between 2 and 60 and name = btrim(name) and name !~ '[[:cntrl:]<>\u202A-\u202E\u2066-\u2069]'
    ),
    constraint genres_slug_check check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$')
);

create index genres_parent_genre_id_name_idx on public.genres (parent_genre_id, name);
create unique index genres_normal_name_idx on public.genres (private.normal_form(name));

comment on table public.genres is
'Genres and their sub-genres. Everybody reads active and approved ones; admins read and change all, audited.';
comment on column public.genres.parent_genre_id is 'The wider genre; null for the main ones.';
comment on column public.genres.name is 'Name to show, 2 to 60 characters, unique in its normal form.';
comment on column public.genres.slug is 'Stable key in addresses.';
comment on column public.genres.is_active is
'False withdraws it: nobody can choose it and nobody but admins sees it, also on profiles that have it.';
comment on column public.genres.is_admin_approved is 'Seeded, approved or agreed on by enough members. False hides it.';

create trigger touch_updated_at before update on public.genres
for each row execute function private.touch_updated_at();
create trigger audit_taxonomy after update on public.genres
for each row execute function private.audit_taxonomy();

alter table public.genres enable row level security;
revoke all on public.genres from anon, authenticated, service_role;
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
left join genre as p on p.slug = c.parent
on conflict (slug) do update set parent_genre_id = excluded.parent_genre_id, name = excluded.name
where (g.parent_genre_id, g.name) is distinct from (excluded.parent_genre_id, excluded.name);

-- sql/10_identity/28_user_taxonomy.sql --------------------------------------------------------------------------------
-- What people say they do: their categories, skills and genres. Readable as far as their profile is.

create table public.user_categories (
    user_id uuid not null default auth.uid(),
    category_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_categories_pkey primary key (user_id, category_id),
    constraint user_categories_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint user_categories_category_id_fkey foreign key (category_id)
    references public.categories (id) on delete cascade
);
create index user_categories_category_id_user_id_idx on public.user_categories (category_id, user_id);

comment on table public.user_categories is
'Categories people put themselves in, at most 8 each; read through the profile, written by its owner.';
comment on column public.user_categories.user_id is 'Whose; always the caller.';
comment on column public.user_categories.category_id is 'An active category.';

create table public.user_skills (
    user_id uuid not null default auth.uid(),
    skill_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_skills_pkey primary key (user_id, skill_id),
    constraint user_skills_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint user_skills_skill_id_fkey foreign key (skill_id) references public.skills (id) on delete cascade
);
create index user_skills_skill_id_user_id_idx on public.user_skills (skill_id, user_id);

comment on table public.user_skills is
'Skills people have, at most 50 each; read through the profile, written by its owner.';
comment on column public.user_skills.user_id is 'Whose; always the caller.';
comment on column public.user_skills.skill_id is 'An active, approved skill, whatever its category.';

create table public.user_genres (
    user_id uuid not null default auth.uid(),
    genre_id uuid not null,
    created_at timestamptz not null default now(),
    constraint user_genres_pkey primary key (user_id, genre_id),
    constraint user_genres_user_id_fkey foreign key (user_id) references public.profiles (id) on delete cascade,
    constraint user_genres_genre_id_fkey foreign key (genre_id) references public.genres (id) on delete cascade
);
create index user_genres_genre_id_user_id_idx on public.user_genres (genre_id, user_id);

comment on table public.user_genres is
'Genres people work in, at most 30 each; read through the profile, written by its owner.';
comment on column public.user_genres.user_id is 'Whose; always the caller.';
comment on column public.user_genres.genre_id is 'An active, approved genre.';

create function private.check_choices() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    chosen_from text := tg_argv[0];
    key text := tg_argv[1];
    most integer := tg_argv[2];
    available text := tg_argv[3];
    problem text;
begin
    execute format(
        'select a.%1$I::text from added as a left join %2$s as c on c.id = a.%1$I and %3$s where c.id is null limit 1',
        key, chosen_from, available
    ) into problem;
    if problem is not null then
        perform private.fail('choice_not_available', problem);
    end if;

    -- Two requests of one person take turns, so that together they cannot exceed the limit.
    perform pg_advisory_xact_lock(hashtextextended('avenue:' || tg_table_name || o.user_id, 0))
    from (select distinct a.user_id from added as a order by a.user_id) as o;
    execute format(
        'select t.user_id::text from %s as t where t.user_id in (select a.user_id from added as a) '
        'group by t.user_id having count(*) > $1 limit 1', tg_relid::regclass
    ) into problem using most;
    if problem is not null then
        perform private.fail('too_many_choices', most::text);
    end if;
    return null;
end
$$;
comment on function private.check_choices() is
'Trigger (relation chosen from, key column, most per person, condition): only what is on offer can be chosen.';

create trigger check_choices after insert on public.user_categories referencing new table as added
for each statement execute function private.check_choices('public.categories', 'category_id', '8', 'c.is_active');
create trigger check_choices after insert on public.user_skills referencing new table as added
for each statement execute function private.check_choices(
    'public.skills', 'skill_id', '50', 'c.is_active and c.is_admin_approved'
);
create trigger check_choices after insert on public.user_genres referencing new table as added
for each statement execute function private.check_choices(
    'public.genres', 'genre_id', '30', 'c.is_active and c.is_admin_approved'
);

alter table public.user_categories enable row level security;
alter table public.user_skills enable row level security;
alter table public.user_genres enable row level security;
revoke all on public.user_categories, public.user_skills, public.user_genres from anon, authenticated, service_role;
grant select on public.user_categories, public.user_skills, public.user_genres to anon, authenticated, service_role;
grant delete on public.user_categories, public.user_skills, public.user_genres to authenticated;
grant insert (category_id) on public.user_categories to authenticated;
grant insert (skill_id) on public.user_skills to authenticated;
grant insert (genre_id) on public.user_genres to authenticated;

-- Read through the profile's own policy: hidden profile, hidden choices.
create policy user_categories_select_anon on public.user_categories for select to anon
using (exists (select from public.profiles as p where p.id = user_id));
create policy user_categories_select on public.user_categories for select to authenticated
using (exists (select from public.profiles as p where p.id = user_id));
create policy user_categories_insert on public.user_categories for insert to authenticated
with check (user_id = (select private.member_id()));
create policy user_categories_delete on public.user_categories for delete to authenticated
using (user_id = (select private.member_id()));

create policy user_skills_select_anon on public.user_skills for select to anon
using (exists (select from public.profiles as p where p.id = user_id));
create policy user_skills_select on public.user_skills for select to authenticated
using (exists (select from public.profiles as p where p.id = user_id));
create policy user_skills_insert on public.user_skills for insert to authenticated
with check (user_id = (select private.member_id()));
create policy user_skills_delete on public.user_skills for delete to authenticated
using (user_id = (select private.member_id()));

create policy user_genres_select_anon on public.user_genres for select to anon
using (exists (select from public.profiles as p where p.id = user_id));
create policy user_genres_select on public.user_genres for select to authenticated
using (exists (select from public.profiles as p where p.id = user_id));
create policy user_genres_insert on public.user_genres for insert to authenticated
with check (user_id = (select private.member_id()));
create policy user_genres_delete on public.user_genres for delete to authenticated
using (user_id = (select private.member_id()));

insert into private.error_codes (code, sqlstate, message, description) values
('choice_not_available', 'PT409', 'This cannot be chosen.',
'The category, skill or genre in the detail was withdrawn or is not approved. Reload the list.'),
('too_many_choices', 'PT409', 'That is too many.',
'One person has at most 8 categories, 50 skills and 30 genres; the detail is the limit. Remove some first.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

-- sql/10_identity/35_custom_fields.sql --------------------------------------------------------------------------------
-- Skills, genres and categories that members miss and ask for. Enough of them asking makes a skill or a genre; an admin
-- decides on the rest.

create type public.custom_field_type as enum ('skill', 'genre', 'category');
comment on type public.custom_field_type is 'What is asked for.';

create type public.custom_field_status as enum ('pending', 'auto_approved', 'approved', 'rejected');
comment on type public.custom_field_status is
'auto_approved: enough members asked; approved and rejected: an admin decided.';

create table public.custom_field_requests (
    id uuid not null default gen_random_uuid(),
    field_type public.custom_field_type not null,
    field_value text not null,
    normal_value text not null,
    category_id uuid,
    request_count integer not null default 0,
    status public.custom_field_status not null default 'pending',
    field_id uuid,
    reviewed_by uuid,
    reviewed_at timestamptz,
    rejection_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint custom_field_requests_pkey primary key (id),
    -- One per value and for good. The category is no part of it: a name exists once, whatever category it is asked for.
    constraint custom_field_requests_field_type_normal_value_key unique (field_type, normal_value),
    constraint custom_field_requests_category_id_fkey foreign key (category_id)
    references public.categories (id) on delete set null,
    constraint custom_field_requests_reviewed_by_fkey foreign key (reviewed_by)
    references public.profiles (id) on delete set null,
    constraint custom_field_requests_field_value_check check (
        char_length(field_value) between 2 and 60 and normal_value = private.normal_form(normal_value)
    ),
    constraint custom_field_requests_category_id_check check (category_id is null or field_type = 'skill'),
    constraint custom_field_requests_request_count_check check (request_count >= 0),
    constraint custom_field_requests_status_check check (
        case status
            when 'pending' then field_id is null and reviewed_at is null and rejection_reason is null
            when 'auto_approved' then field_id is not null and field_type <> 'category' and rejection_reason is null
            when 'approved' then field_id is not null and reviewed_at is not null and rejection_reason is null
            when 'rejected' then field_id is null and reviewed_at is not null and rejection_reason is not null
        end
    ),
    constraint custom_field_requests_rejection_reason_check check (
        char_length(rejection_reason) between 1 and 1000 and rejection_reason = btrim(rejection_reason)
    )
);

create index custom_field_requests_category_id_idx on public.custom_field_requests (category_id);
create index custom_field_requests_reviewed_by_idx on public.custom_field_requests (reviewed_by);
create index custom_field_requests_status_created_at_id_idx
on public.custom_field_requests (status, created_at desc, id desc);

comment on table public.custom_field_requests is
'What is asked for, one row per value however it is spelled and whoever asks. Read by who asked and by admins; written '
'by request_custom_field(), approve_custom_field(), reject_custom_field() and reopen_custom_field().';
comment on column public.custom_field_requests.field_type is 'What is asked for.';
comment on column public.custom_field_requests.field_value is
'The best spelling among those who asked; after approval the name it got.';
comment on column public.custom_field_requests.normal_value is 'What was asked for in its normal form.';
comment on column public.custom_field_requests.category_id is
'Under which category, for skills: what most who asked named; null when nobody named one.';
comment on column public.custom_field_requests.request_count is 'How many members ask; kept by trigger.';
comment on column public.custom_field_requests.status is
'Leaves pending once; a plain update after all requesters are in, so that triggers on it see everybody.';
comment on column public.custom_field_requests.field_id is
'The skill, genre or category it became, or which it turned out to be.';
comment on column public.custom_field_requests.reviewed_by is 'The admin who decided; null when members did.';
comment on column public.custom_field_requests.reviewed_at is 'When an admin decided.';
comment on column public.custom_field_requests.rejection_reason is
'Told to everybody who asked or asks again; at most 1,000 characters.';

create trigger touch_updated_at before update on public.custom_field_requests
for each row execute function private.touch_updated_at();

create table public.custom_field_requesters (
    request_id uuid not null,
    user_id uuid not null,
    spelling text not null,
    category_id uuid,
    created_at timestamptz not null default clock_timestamp(),
    constraint custom_field_requesters_pkey primary key (request_id, user_id),
    constraint custom_field_requesters_request_id_fkey foreign key (request_id)
    references public.custom_field_requests (id) on delete cascade,
    constraint custom_field_requesters_user_id_fkey foreign key (user_id)
    references public.profiles (id) on delete cascade,
    constraint custom_field_requesters_category_id_fkey foreign key (category_id)
    references public.categories (id) on delete set null,
    constraint custom_field_requesters_spelling_check check (char_length(spelling) between 2 and 60)
);

create index custom_field_requesters_user_id_idx on public.custom_field_requesters (user_id);
create index custom_field_requesters_category_id_idx on public.custom_field_requesters (category_id);

comment on table public.custom_field_requesters is
'Who asks for what, once each. One''s own rows and admins; nobody learns who else asked.';
comment on column public.custom_field_requesters.request_id is 'What is asked for.';
comment on column public.custom_field_requesters.user_id is 'Who asks.';
comment on column public.custom_field_requesters.spelling is 'How they wrote it, tidied.';
comment on column public.custom_field_requesters.category_id is
'Under which category they want the skill; null says nothing.';

alter table public.custom_field_requests enable row level security;
alter table public.custom_field_requesters enable row level security;
revoke all on public.custom_field_requests, public.custom_field_requesters from anon, authenticated, service_role;
grant select on public.custom_field_requests, public.custom_field_requesters to authenticated, service_role;

create policy custom_field_requesters_select on public.custom_field_requesters for select to authenticated
using (user_id = (select private.member_id()) or (select private.is_admin()));
-- The subquery sees the caller's rows only.
create policy custom_field_requests_select on public.custom_field_requests for select to authenticated
using (
    id in (select r.request_id from public.custom_field_requesters as r where r.user_id = (select private.member_id()))
    or (select private.is_admin())
);

create function private.count_custom_field_requesters() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Whoever asks holds the request already; cascades take many.
    perform private.add_counts(
        'custom_field_requests.request_count',
        array_agg(c.request_id), array_agg(case tg_op when 'INSERT' then 1 else -1 end)
    )
    from changed as c;
    return null;
end
$$;
comment on function private.count_custom_field_requesters() is 'Trigger: keeps custom_field_requests.request_count.';

create trigger count_insert after insert on public.custom_field_requesters referencing new table as changed
for each statement execute function private.count_custom_field_requesters();
create trigger count_delete after delete on public.custom_field_requesters referencing old table as changed
for each statement execute function private.count_custom_field_requesters();

create function private.custom_field_threshold(field_type public.custom_field_type) returns integer
language sql
immutable
set search_path = ''
as $$
    select case field_type when 'skill' then 3 when 'genre' then 5 end
$$;
comment on function private.custom_field_threshold(public.custom_field_type) is
'How many members have to ask before it is created without an admin; null: never.';

create function private.check_field_name(name text) returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
    -- Longer is refused before anything expensive is done with it.
    tidy text := case when char_length(name) <= 200 then private.tidy_name(name) end;
begin
    if
        tidy is null
        or char_length(tidy) not between 2 and 60
        or tidy ~ '[][<>{}\\^|"]|://'
        -- A letter of any script.
        or tidy !~ '[A-Za-z\u00C0-\u1FFF\u2C00-\uD7FF]'
    then
        perform private.fail('custom_field_invalid', left(coalesce(tidy, ''), 60));
    end if;
    return tidy;
end
$$;
comment on function private.check_field_name(text) is
'The tidied name, or fails with custom_field_invalid: 2 to 60 characters, at least one letter, no markup.';

create function private.find_field(field_type public.custom_field_type, normal_value text)
returns table (id uuid, name text, is_available boolean)
language sql
stable
security definer
set search_path = ''
as $$
    select s.id, s.name, s.is_active and s.is_admin_approved
    from public.skills as s
    where find_field.field_type = 'skill' and private.normal_form(s.name) = find_field.normal_value
    union all
    select g.id, g.name, g.is_active and g.is_admin_approved
    from public.genres as g
    where find_field.field_type = 'genre' and private.normal_form(g.name) = find_field.normal_value
    union all
    select c.id, c.name, c.is_active
    from public.categories as c
    where find_field.field_type = 'category' and private.normal_form(c.name) = find_field.normal_value
$$;
comment on function private.find_field(public.custom_field_type, text) is
'The skill, genre or category of that normal form, if there is one, and whether it can be chosen.';

create function private.create_field(field_type public.custom_field_type, name text, category_id uuid)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    normal text := private.normal_form(name);
    -- Scripts that have no Latin letters to offer get a key that is at least stable.
    key text := coalesce(nullif(private.slugify(replace(name, '&', ' and ')), ''), 'x-' || left(md5(normal), 10));
    known uuid;
begin
    -- "C++" and "C#" have the same key at first. Two who create the same name wait for each other at its unique index.
    for attempt in 1..2 loop
        case field_type
            when 'skill' then
                insert into public.skills (name, slug, category_id)
                values (create_field.name, key, create_field.category_id) on conflict do nothing;
            when 'genre' then
                insert into public.genres (name, slug) values (create_field.name, key) on conflict do nothing;
            when 'category' then
                insert into public.categories (name, slug, sort_order)
                select create_field.name, key, coalesce(max(c.sort_order), 0) + 1 from public.categories as c
                on conflict do nothing;
        end case;
        select f.id into known from private.find_field(create_field.field_type, normal) as f;
        exit when known is not null;
        key := key || '-' || left(md5(normal), 6);
    end loop;
    return known;
end
$$;
comment on function private.create_field(public.custom_field_type, text, uuid) is
'The skill, genre or category of this name, created unless it exists.';

create function private.best_spelling(request_id uuid) returns text
language sql
stable
security definer
set search_path = ''
as $$
    -- Capitalised words before mixed case before one case only; then what most wrote; then who was first.
    select case
        when s.quality > 0 or (s.spelling = upper(s.spelling) and s.spelling ~ '^\S{2,4}$') then s.spelling
        else initcap(s.spelling)
    end
    from (
        select
            r.spelling,
            case
                when r.spelling in (upper(r.spelling), lower(r.spelling)) then 0
                when not exists (
                    select from regexp_split_to_table(r.spelling, ' ') as word
                    where left(word, 1) <> upper(left(word, 1))
                ) then 2
                else 1
            end as quality,
            count(*) as votes,
            min(r.created_at) as since
        from public.custom_field_requesters as r
        where r.request_id = best_spelling.request_id
        group by r.spelling
    ) as s
    order by s.quality desc, s.spelling = upper(s.spelling) desc, s.votes desc, s.since, s.spelling
    limit 1
$$;
comment on function private.best_spelling(uuid) is
'The best-cased spelling among those who ask. Where all shouted or all whispered, words are capitalised; up to four '
'capitals stay, as MIDI does.';

create function public.request_custom_field(
    field_type public.custom_field_type, field_value text, category_id uuid default null
) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    caller uuid := private.require_member();
    spelling text := private.check_field_name(field_value);
    normal text := private.normal_form(spelling);
    category uuid := case when request_custom_field.field_type = 'skill' then request_custom_field.category_id end;
    known record;
    request public.custom_field_requests;
begin
    if request_custom_field.field_type is null then
        perform private.fail('custom_field_invalid');
    end if;
    if category is not null and not exists (
        select from public.categories as c where c.id = category and c.is_active
    ) then
        perform private.fail('choice_not_available', category::text);
    end if;
    -- Before any other lock: an account that is being deleted and one that asks must not wait for each other.
    perform from public.profiles as p where p.id = caller for key share;
    perform pg_advisory_xact_lock(hashtextextended('avenue:custom_fields' || caller, 0));

    insert into public.custom_field_requests as q (field_type, field_value, normal_value)
    values (request_custom_field.field_type, spelling, normal)
    on conflict on constraint custom_field_requests_field_type_normal_value_key do nothing;
    -- Everybody who asks for the same value takes turns from here.
    select * into request from public.custom_field_requests as q
    where q.field_type = request_custom_field.field_type and q.normal_value = normal
    for no key update;

    select f.* into known from private.find_field(request.field_type, normal) as f;
    if known.id is not null and not known.is_available then
        perform private.fail('custom_field_withdrawn', known.name);
    elsif known.id is not null or request.status in ('auto_approved', 'approved') then
        -- An admin may have corrected the name since.
        perform private.fail('custom_field_exists', coalesce(known.name, request.field_value));
    elsif request.status = 'rejected' then
        perform private.fail('custom_field_rejected', request.rejection_reason);
    end if;

    if (
        select count(*)
        from public.custom_field_requesters as r
        inner join public.custom_field_requests as q on q.id = r.request_id
        where r.user_id = caller and q.status = 'pending' and q.id <> request.id
    ) >= 20 then
        perform private.fail('too_many_custom_fields', '20');
    end if;
    insert into public.custom_field_requesters as r (request_id, user_id, spelling, category_id)
    values (request.id, caller, spelling, category)
    on conflict on constraint custom_field_requesters_pkey do nothing;
    update public.custom_field_requests as q set
        field_value = private.best_spelling(q.id),
        category_id = (
            select mode() within group (order by r.category_id)
            from public.custom_field_requesters as r
            where r.request_id = q.id
        )
    where q.id = request.id
    returning * into request;

    if request.request_count >= private.custom_field_threshold(request.field_type) then
        update public.custom_field_requests as q set
            status = 'auto_approved',
            field_id = private.create_field(request.field_type, request.field_value, request.category_id)
        where q.id = request.id
        returning * into request;
    end if;
    return request;
end
$$;
comment on function public.request_custom_field(public.custom_field_type, text, uuid) is
'Asks for a skill, genre or category that does not exist, or joins who asks for it already; once per member. The third '
'member makes a skill, the fifth a genre; categories are an admin''s decision. category_id: for skills, under which '
'category; what most named counts. Fails with custom_field_invalid, custom_field_exists, custom_field_withdrawn, '
'custom_field_rejected or too_many_custom_fields.';
grant execute on function public.request_custom_field(public.custom_field_type, text, uuid) to authenticated;

create function private.undecided_field(request_id uuid) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    request public.custom_field_requests;
begin
    select * into request from public.custom_field_requests as q where q.id = undecided_field.request_id
    for no key update;
    if request.id is null then
        perform private.fail('custom_field_not_found', undecided_field.request_id::text);
    elsif request.status <> 'pending' then
        perform private.fail('custom_field_decided', request.status::text);
    end if;
    return request;
end
$$;
comment on function private.undecided_field(uuid) is
'The request, locked; fails with custom_field_not_found or custom_field_decided.';

create function public.approve_custom_field(
    request_id uuid, corrected_name text default null, category_id uuid default null
) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    request public.custom_field_requests := private.undecided_field(approve_custom_field.request_id);
    name text := private.check_field_name(coalesce(corrected_name, request.field_value));
    category uuid := case
        when request.field_type = 'skill' then coalesce(approve_custom_field.category_id, request.category_id)
    end;
    field uuid;
begin
    if exists (
        select from private.find_field(request.field_type, private.normal_form(name)) as f where not f.is_available
    ) then
        perform private.fail('custom_field_withdrawn', name);
    end if;
    if category is not null and not exists (select from public.categories as c where c.id = category) then
        perform private.fail('choice_not_available', category::text);
    end if;
    field := private.create_field(request.field_type, name, category);
    update public.custom_field_requests as q set
        status = 'approved', field_value = name, category_id = category, field_id = field, reviewed_by = admin,
        reviewed_at = now()
    where q.id = request.id;
    perform private.audit(
        'approve_custom_field', 'custom_field_requests', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'name', name, 'field', field)
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
$$;
comment on function public.approve_custom_field(uuid, text, uuid) is
'Admins: creates what was asked for, under a corrected name and another category if given; audited. The name of an '
'existing entry makes the request a request for that. Fails with custom_field_decided when it was decided before.';
grant execute on function public.approve_custom_field(uuid, text, uuid) to authenticated;

create function public.reject_custom_field(request_id uuid, reason text) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    admin uuid := private.require_admin();
    request public.custom_field_requests := private.undecided_field(reject_custom_field.request_id);
begin
    if coalesce(char_length(btrim(reason)), 0) not between 1 and 1000 then
        perform private.fail('rejection_reason_required');
    end if;
    update public.custom_field_requests as q set
        status = 'rejected', rejection_reason = btrim(reason), reviewed_by = admin, reviewed_at = now()
    where q.id = request.id;
    perform private.audit(
        'reject_custom_field', 'custom_field_requests', request.id,
        jsonb_build_object('field_type', request.field_type, 'asked', request.field_value, 'reason', btrim(reason))
    );
    select * into request from public.custom_field_requests as q where q.id = request.id;
    return request;
end
$$;
comment on function public.reject_custom_field(uuid, text) is
'Admins: refuses what was asked for; audited. It stays refused: whoever asks for it again gets custom_field_rejected '
'with the reason, until reopen_custom_field().';
grant execute on function public.reject_custom_field(uuid, text) to authenticated;

create function public.reopen_custom_field(request_id uuid) returns public.custom_field_requests
language plpgsql
security definer
set search_path = ''
as $$
declare
    request public.custom_field_requests;
begin
    perform private.require_admin();
    update public.custom_field_requests as q set
        status = 'pending', rejection_reason = null, reviewed_by = null, reviewed_at = null
    where q.id = reopen_custom_field.request_id and q.status = 'rejected'
    returning * into request;
    if request.id is null then
        -- Says whether it does not exist or was decided otherwise; one that is pending is open already.
        return private.undecided_field(reopen_custom_field.request_id);
    end if;
    perform private.audit('reopen_custom_field', 'custom_field_requests', request.id, '{}');
    return request;
end
$$;
comment on function public.reopen_custom_field(uuid) is
'Admins: takes a rejection back, so that members can ask again and an admin can approve; audited.';
grant execute on function public.reopen_custom_field(uuid) to authenticated;

insert into private.counters (counter, relation, key, count_column, truth) values
(
    'custom_field_requests.request_count', 'public.custom_field_requests', 'id', 'request_count',
    'select r.request_id, count(*) from public.custom_field_requesters as r group by r.request_id'
)
on conflict (counter) do update set
relation = excluded.relation, key = excluded.key, count_column = excluded.count_column, truth = excluded.truth;

insert into private.error_codes (code, sqlstate, message, description) values
('custom_field_invalid', 'PT400', 'This is not a possible name.',
'Names of skills, genres and categories have 2 to 60 characters, at least one letter and no markup.'),
('custom_field_exists', 'PT409', 'This exists already.',
'The detail is its name: choose it from the list instead of asking for it.'),
('custom_field_withdrawn', 'PT409', 'This was withdrawn.',
'A skill, genre or category of this name (detail) exists but is not on offer. Admins can make it active again.'),
('custom_field_rejected', 'PT409', 'This was asked for before and rejected.', 'The detail is the admin''s reason.'),
('too_many_custom_fields', 'PT429', 'Too many open requests.',
'One member has at most 20 undecided requests (detail). Wait until some are decided.'),
('custom_field_not_found', 'PT404', 'This request does not exist.', 'No request with the id in the detail.'),
('custom_field_decided', 'PT409', 'This was decided already.', 'The detail is the decision. Reload the list.'),
('rejection_reason_required', 'PT400', 'A rejection needs a reason.', 'Give those who asked 1 to 1,000 characters.')
on conflict (code) do update
set sqlstate = excluded.sqlstate, message = excluded.message, description = excluded.description;

insert into private.personal_data (section, relation, condition) values
('categories', 'public.user_categories', 't.user_id = $1'),
('skills', 'public.user_skills', 't.user_id = $1'),
('genres', 'public.user_genres', 't.user_id = $1'),
('custom_fields', 'public.custom_field_requesters', 't.user_id = $1')
on conflict (section) do update set relation = excluded.relation, condition = excluded.condition;
