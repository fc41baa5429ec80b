-- What people can do, under the categories. Seeded here; grows by requests (35_custom_fields.sql).

create function private.is_field_name(value text) returns boolean
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    return char_length(value) between 2 and 60 and value !~ '[<>]';
end
$$;
comment on function private.is_field_name(text) is
'Whether a skill or a genre can have this name: 2 to 60 characters, no markup. Null for null.';
grant execute on function private.is_field_name(text) to authenticated;

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
    constraint skills_name_check check (private.is_field_name(name)),
    constraint skills_slug_check check (private.is_slug(slug))
);

create index skills_category_id_name_idx on public.skills (category_id, name);
-- A skill exists once on the platform: "Arranging" is the same for a musician and for a producer.
create unique index skills_normal_name_idx on public.skills (private.normal_form(name));

-- What a client that breaks these is told, see error_catalog().
comment on index public.skills_normal_name_idx is 'skill_exists: There is a skill of this name.';
comment on constraint skills_name_check on public.skills is
'invalid_name: A skill has 2 to 60 characters and no markup.';
comment on constraint skills_category_id_fkey on public.skills is 'choice_not_available: There is no such category.';

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

-- Before every other trigger, see tidy_texts().
create trigger _tidy_texts
before insert or update of name on public.skills
for each row execute function private.tidy_texts('name line required');

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
            'update_' || tg_table_name,
            (select k.kind from private.kinds as k where k.relation = format('%I.%I', tg_table_schema, tg_table_name)),
            new.id,
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
inner join public.categories as c on c.slug::text = v.category;

insert into private.kinds (kind, relation, owner_column, page, hooks) values
('skill', 'public.skills', null, null, '{}');
