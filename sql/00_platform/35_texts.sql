-- What texts are made of, on every page. One-line texts (names, titles, tags) and bodies (posts, messages) are tidied
-- by one trigger before anything else looks at them, so that what is stored has one form and shows something.

-- Classes of characters for regular expressions. The database's own know letters and digits of every script, but no
-- combining marks, and call most of what has no width neither space nor control.
create function private.marks() returns text
language sql
immutable
set search_path = ''
as $$
    select
    '\u0300-\u034E\u0350-\u036F\u0483-\u0489\u0591-\u05BD\u05BF\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A'
    '\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7-\u06E8\u06EA-\u06ED\u070F\u0711\u0730-\u074A\u07A6-\u07B0'
    '\u07EB-\u07F3\u07FD\u0816-\u0819\u081B-\u0823\u0825-\u0827\u0829-\u082D\u0859-\u085B\u0898-\u089F\u08CA-\u08E1'
    '\u08E3-\u0903\u093A-\u093C\u093E-\u094F\u0951-\u0957\u0962-\u0963\u0981-\u0983\u09BC\u09BE-\u09CD\u09D7'
    '\u09E2-\u09E3\u09FE-\u0A03\u0A3C-\u0A51\u0A70-\u0A71\u0A75\u0A81-\u0A83\u0ABC\u0ABE-\u0ACD\u0AE2-\u0AE3'
    '\u0AFA-\u0B03\u0B3C\u0B3E-\u0B57\u0B62-\u0B63\u0B82\u0BBE-\u0BCD\u0BD7\u0C00-\u0C04\u0C3C\u0C3E-\u0C56'
    '\u0C62-\u0C63\u0C81-\u0C83\u0CBC\u0CBE-\u0CD6\u0CE2-\u0CE3\u0D00-\u0D03\u0D3B-\u0D3C\u0D3E-\u0D4D\u0D57'
    '\u0D62-\u0D63\u0D81-\u0D83\u0DCA-\u0DDF\u0DF2-\u0DF3\u0E31\u0E34-\u0E3A\u0E47-\u0E4E\u0EB1\u0EB4-\u0EBC'
    '\u0EC8-\u0ECD\u0F18-\u0F19\u0F35\u0F37\u0F39\u0F3E-\u0F3F\u0F71-\u0F84\u0F86-\u0F87\u0F8D-\u0FBC\u0FC6'
    '\u102B-\u103E\u1056-\u1059\u105E-\u1060\u1062-\u1064\u1067-\u106D\u1071-\u1074\u1082-\u108D\u108F\u109A-\u109D'
    '\u135D-\u135F\u1712-\u1715\u1732-\u1734\u1752-\u1753\u1772-\u1773\u17B6-\u17D3\u17DD\u1885-\u1886\u18A9'
    '\u1920-\u193B\u1A17-\u1A1B\u1A55-\u1A7F\u1AB0-\u1B04\u1B34-\u1B44\u1B6B-\u1B73\u1B80-\u1B82\u1BA1-\u1BAD'
    '\u1BE6-\u1BF3\u1C24-\u1C37\u1CD0-\u1CD2\u1CD4-\u1CE8\u1CED\u1CF4\u1CF7-\u1CF9\u1DC0-\u1DFF\u20D0-\u20F0'
    '\u2CEF-\u2CF1\u2D7F\u2DE0-\u2DFF\u302A-\u302F\u3099-\u309A\uA66F-\uA672\uA674-\uA67D\uA69E-\uA69F\uA6F0-\uA6F1'
    '\uA802\uA806\uA80B\uA823-\uA827\uA82C\uA880-\uA881\uA8B4-\uA8C5\uA8E0-\uA8F1\uA8FF\uA926-\uA92D\uA947-\uA953'
    '\uA980-\uA983\uA9B3-\uA9C0\uA9E5\uAA29-\uAA36\uAA43\uAA4C-\uAA4D\uAA7B-\uAA7D\uAAB0\uAAB2-\uAAB4\uAAB7-\uAAB8'
    '\uAABE-\uAABF\uAAC1\uAAEB-\uAAEF\uAAF5-\uAAF6\uABE3-\uABEA\uABEC-\uABED\uFB1E\uFE20-\uFE2F\U000101FD\U000102E0'
    '\U00010376-\U0001037A\U00010A01-\U00010A0F\U00010A38-\U00010A3F\U00010AE5-\U00010AE6\U00010D24-\U00010D27'
    '\U00010EAB-\U00010EAC\U00010F46-\U00010F50\U00010F82-\U00010F85\U00011000-\U00011002\U00011038-\U00011046'
    '\U00011070\U00011073-\U00011074\U0001107F-\U00011082\U000110B0-\U000110BA\U000110C2\U00011100-\U00011102'
    '\U00011127-\U00011134\U00011145-\U00011146\U00011173\U00011180-\U00011182\U000111B3-\U000111C0'
    '\U000111C9-\U000111CC\U000111CE-\U000111CF\U0001122C-\U00011237\U0001123E\U000112DF-\U000112EA'
    '\U00011300-\U00011303\U0001133B-\U0001133C\U0001133E-\U0001134D\U00011357\U00011362-\U00011374'
    '\U00011435-\U00011446\U0001145E\U000114B0-\U000114C3\U000115AF-\U000115C0\U000115DC-\U000115DD'
    '\U00011630-\U00011640\U000116AB-\U000116B7\U0001171D-\U0001172B\U0001182C-\U0001183A\U00011930-\U0001193E'
    '\U00011940\U00011942-\U00011943\U000119D1-\U000119E0\U000119E4\U00011A01-\U00011A0A\U00011A33-\U00011A39'
    '\U00011A3B-\U00011A3E\U00011A47\U00011A51-\U00011A5B\U00011A8A-\U00011A99\U00011C2F-\U00011C3F'
    '\U00011C92-\U00011CB6\U00011D31-\U00011D45\U00011D47\U00011D8A-\U00011D97\U00011EF3-\U00011EF6'
    '\U00013430-\U00013440\U00013447-\U00013455'
    '\U00016AF0-\U00016AF4\U00016B30-\U00016B36\U00016F4F\U00016F51-\U00016F92\U00016FE4-\U00016FF1'
    '\U0001BC9D-\U0001BC9E\U0001CF00-\U0001CF46\U0001D165-\U0001D169\U0001D16D-\U0001D172\U0001D17B-\U0001D182'
    '\U0001D185-\U0001D18B\U0001D1AA-\U0001D1AD\U0001D242-\U0001D244\U0001DA00-\U0001DA36\U0001DA3B-\U0001DA6C'
    '\U0001DA75\U0001DA84\U0001DA9B-\U0001DAAF\U0001E000-\U0001E02A\U0001E130-\U0001E136\U0001E2AE'
    '\U0001E2EC-\U0001E2EF\U0001E8D0-\U0001E8D6\U0001E944-\U0001E94A'
$$;
comment on function private.marks() is
'Combining marks as the inside of a bracket expression: vowel signs, tone marks, accents, what arranges hieroglyphs. '
'They belong to the word.';

create function private.blanks() returns text
language sql
immutable
set search_path = ''
as $$
    select '[:space:][:cntrl:]\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u2800\u3000'
$$;
comment on function private.blanks() is
'What shows as empty space, as the inside of a bracket expression: spaces of every width, line breaks, control '
'characters, the empty braille pattern.';

create function private.invisibles() returns text
language sql
immutable
set search_path = ''
as $$
    select
        '\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164'
        '\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFC\U0001BCA0-\U0001BCA3\U0001D159\U0001D173-\U0001D17A'
        '\U000E0000-\U000E0FFF'
$$;
comment on function private.invisibles() is
'What has no shape of its own, as the inside of a bracket expression: joiners, direction marks and overrides, '
'variation selectors, fillers, tag characters.';

create function private.is_visible_text(value text) returns boolean
language sql
immutable
set search_path = ''
as $$
    -- Most texts begin with a plain letter. Marks and private characters alone are nothing to read either.
    select value ~ '^[!-~]' or value ~ concat(
        '[^', private.blanks(), private.invisibles(), private.marks(),
        '\uE000-\uF8FF\uFDD0-\uFDEF\uFFFE\uFFFF\U000F0000-\U0010FFFF]'
    )
$$;
comment on function private.is_visible_text(text) is 'Whether a text shows anything at all.';

create function private.hides_nothing(value text) returns boolean
language sql
immutable
set search_path = ''
as $$
    select value ~ '^[ -~]*$' or value !~ concat('[', private.invisibles(), '\u2800]')
$$;
comment on function private.hides_nothing(text) is
'Whether an address has nothing in it that is not seen or shows it in another order: such characters go into links '
'percent-encoded.';
grant execute on function private.hides_nothing(text) to anon, authenticated, service_role;

create function private.tidy_name(value text) returns text
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    tidy text := value;
begin
    -- No line is so long: its column refuses it as it is, and nobody waits for one character becoming eighteen.
    if value ~ '^[!-~]+( [!-~]+)*$' or char_length(value) > 16384 then
        return value;
    end if;
    -- NFKC makes one of composed, decomposed, full-width and ligature forms. What has no shape goes, but for what
    -- belongs to the character before it: the tags of a flag, the selector of an emoji, and the joiners inside words of
    -- scripts that are written with them and inside emoji. A joiner between letters that do not join is a disguise.
    tidy := regexp_replace(
        normalize(tidy, nfkc),
        concat(
            '(\U0001F3F4[\U000E0020-\U000E007E]{1,7}\U000E007F)'
            '|([\u00A9\u00AE\u2190-\u2BFF\U0001F000-\U0001FBFF][\uFE0E\uFE0F]|[0-9#*]\uFE0F\u20E3)'
            '|[', replace(private.invisibles(), '\u200B-\u200F', '\u200B\u200E\u200F'), ']'
        ),
        '\1\2', 'g'
    );
    if tidy ~ '[\u200C\u200D]' then
        tidy := regexp_replace(
            tidy,
            '(?<![\u0620-\u1C7F\u2190-\u2BFF\uA840-\uABFF\uFE0F\U00010A00-\U0001FBFF])[\u200C\u200D]+'
            '|[\u200C\u200D]+(?![\u0620-\u1C7F\u2190-\u2BFF\uA840-\uABFF\U00010A00-\U0001FBFF])', '', 'g'
        );
    end if;
    tidy := btrim(regexp_replace(tidy, concat('[', private.blanks(), ']+'), ' ', 'g'));
    return case when private.is_visible_text(tidy) then tidy else '' end;
end
$$;
comment on function private.tidy_name(text) is
'A text of one line in the form it is stored in: Unicode form NFKC, single spaces, no line breaks, no direction marks '
'or overrides, nothing invisible but what emoji and scripts with joiners need. Empty when it would show nothing.';

create function private.tidy_body(value text) returns text
language plpgsql
immutable
strict
set search_path = ''
as $$
declare
    tidy text := value;
begin
    if value ~ '[^ -~\n]' then
        -- Line breaks, tabs and the marks that right-to-left texts need stay. Overrides show a text in another order
        -- than it has; tag characters outside of flags and rows of variation selectors are texts that only machines see.
        tidy := regexp_replace(
            regexp_replace(
                regexp_replace(normalize(tidy, nfc), '\r\n?|[\u000B\u000C\u0085\u2028\u2029]', e'\n', 'g'),
                '[\u0001-\u0008\u000E-\u001F\u007F-\u009F\u202D\u202E]', '', 'g'
            ),
            '(\U0001F3F4[\U000E0020-\U000E007E]{1,7}\U000E007F)|[\U000E0000-\U000E007F]'
            '|(?<=[\uFE00-\uFE0F\U000E0100-\U000E01EF])[\uFE00-\uFE0F\U000E0100-\U000E01EF]+', '\1', 'g'
        );
    end if;
    -- The first line keeps no indent either, as always.
    tidy := btrim(tidy, e' \t\n');
    return case when private.is_visible_text(tidy) then tidy else '' end;
end
$$;
comment on function private.tidy_body(text) is
'A text of many lines in the form it is stored in: Unicode form NFC, line breaks as \n, no control characters or '
'direction overrides, no space around it. Empty when it would show nothing.';

create function private.is_reason(value text) returns boolean
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    return char_length(value) between 1 and 500;
end
$$;
comment on function private.is_reason(text) is
'Whether a tidied text can be the reason given to somebody: 1 to 500 characters. Null for null.';

create function private.is_note(value text) returns boolean
language plpgsql
immutable
strict
set search_path = ''
as $$
begin
    return char_length(value) <= 2000;
end
$$;
comment on function private.is_note(text) is
'Whether a tidied text can be what somebody has to say about an order, a report or a review: at most 2,000 characters. '
'Null for null.';

create function private.require_reason(reason text) returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    tidy text := private.tidy_body(reason);
begin
    if private.is_reason(tidy) is not true then
        perform private.fail('reason_required');
    end if;
    return tidy;
end
$$;
comment on function private.require_reason(text) is 'The reason, tidied. Error: reason_required.';

create function private.tidy_object(value jsonb) returns jsonb
language sql
immutable
set search_path = ''
as $$
    select case jsonb_typeof(value)
        when 'string' then to_jsonb(private.tidy_body(value #>> '{}'))
        when 'array' then (
            select coalesce(jsonb_agg(private.tidy_object(e.value) order by e.place), '[]')
            from jsonb_array_elements(value) with ordinality as e (value, place)
        )
        when 'object' then (
            select coalesce(jsonb_object_agg(private.tidy_name(e.key), private.tidy_object(e.value)), '{}')
            from jsonb_each(value) as e
        )
        else value
    end
$$;
comment on function private.tidy_object(jsonb) is 'JSON whose keys are tidied as names and whose texts as bodies.';

create function private.tag_form(value text) returns text
language sql
immutable
set search_path = ''
as $$
    -- What servers disagree on in lower case: the last sigma of a word, the dot of a Turkish capital.
    select normalize(
        replace(translate(lower(ltrim(private.tidy_name(value), '# ')), U&'\03C2', U&'\03C3'), U&'i\0307', 'i'), nfkc
    )
$$;
comment on function private.tag_form(text) is
'The one form of a tag, however it was typed: tidied as a name, without #, letter case folded.';

create function private.is_tag(value text) returns boolean
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
    return char_length(value) between 1 and 50;
end
$$;
comment on function private.is_tag(text) is
'Whether a text in the form of a tag is one: 1 to 50 characters. Null for null.';

-- A statement's value passes here before constraints and the page's own triggers see it: the name sorts first.
create function private.tidy_texts() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    given jsonb := to_jsonb(new);
    tidied jsonb := jsonb '{}';
    rule text;
    field text;
    before jsonb;
    after jsonb;
begin
    foreach rule in array tg_argv loop
        field := split_part(rule, ' ', 1);
        before := given -> field;
        continue when before = 'null';
        after := case split_part(rule, ' ', 2)
            when 'line' then to_jsonb(nullif(private.tidy_name(before #>> '{}'), ''))
            when 'body' then to_jsonb(nullif(private.tidy_body(before #>> '{}'), ''))
            when 'object' then private.tidy_object(before)
        end;
        if after is null and split_part(rule, ' ', 3) = 'required' then
            perform private.fail('text_not_visible', field);
        end if;
        if after is distinct from before then
            tidied := tidied || jsonb_build_object(field, after);
        end if;
    end loop;
    if tidied <> '{}' then
        new := jsonb_populate_record(new, tidied);
    end if;
    return new;
end
$$;
comment on function private.tidy_texts() is
'Trigger _tidy_texts of every table with texts that people write. Its arguments are "column line", "column body" or '
'"column object", see tidy_name(), tidy_body() and tidy_object(). A text that shows nothing becomes null, or fails '
'with text_not_visible where the argument says "required".';

-- Addresses.

create table private.transliterations (
    letter text not null,
    latin text not null,
    constraint transliterations_pkey primary key (letter),
    constraint transliterations_letter_check check (char_length(letter) = 1),
    constraint transliterations_latin_check check (latin ~ '^(\^?[a-z]*|[0-9]|\+)$')
);
comment on table private.transliterations is
'How letters of other scripts are written in addresses: common usage, not a standard of scholars. Latin letters with '
'accents are unaccent()''s.';
comment on column private.transliterations.letter is 'One character in lower case, Unicode form NFKC.';
comment on column private.transliterations.latin is
'a to z or a digit; empty for letters that have no sound. + doubles the next consonant, ^ takes the place of the vowel '
'before it (small kana).';
alter table private.transliterations enable row level security;

create function private.to_latin(value text) returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    -- Addresses have a hundred characters at most.
    latin text := lower(private.tidy_name(left(value, 1000)));
begin
    if latin ~ '[^\u0001-\u024F]' then
        if latin ~ '[\uAC00-\uD7A3]' then
            -- Syllables of Hangul fall apart into their letters.
            latin := normalize(latin, nfd);
        end if;
        -- Consonants of Devanagari carry an a, unless a sign says otherwise or the word ends.
        latin := regexp_replace(latin, '([\u0915-\u0939]\u093C?)(?=[\u0901-\u0939])', '\1a', 'g');
        -- Vowels written with two letters, of Greek and Armenian.
        latin := regexp_replace(regexp_replace(latin, '\u03BF[\u03C5\u03CD]', 'ou', 'g'), '\u0578\u0582', 'u', 'g');
        select string_agg(coalesce(t.latin, base.latin, l.letter), '' order by l.place) into latin
        from regexp_split_to_table(latin, '') with ordinality as l (letter, place)
        left join private.transliterations as t on t.letter = l.letter
        left join private.transliterations as base on base.letter = left(normalize(l.letter, nfd), 1);
        latin := regexp_replace(latin, '(ch|sh|j)i\^y', '\1', 'g');
        latin := regexp_replace(latin, '[a-z]?\^', '', 'g');
        latin := regexp_replace(latin, '\+([a-z])', '\1\1', 'g');
        latin := regexp_replace(latin, concat('[', private.marks(), private.invisibles(), ']'), '', 'g');
    end if;
    return lower(extensions.unaccent('extensions.unaccent'::regdictionary, coalesce(latin, '')));
end
$$;
comment on function private.to_latin(text) is
'A text in lower case and in Latin letters without accents, as far as transliterations knows its letters.';

create function private.slugify(value text) returns text
language sql
stable
set search_path = ''
as $$
    select trim(both '-' from regexp_replace(private.to_latin(value), '[^a-z0-9]+', '-', 'g'))
$$;
comment on function private.slugify(text) is
'Lower-case ASCII words joined by hyphens; may be empty when nothing survives (emoji, scripts nobody can spell out).';
grant execute on function
private.marks(), private.blanks(), private.invisibles(), private.is_visible_text(text), private.tidy_name(text),
private.tidy_body(text), private.tag_form(text), private.is_tag(text), private.slugify(text)
to authenticated;

-- "letter latin" pairs; - is no sound.
insert into private.transliterations (letter, latin)
select pair[1], replace(pair[2], '-', '')
from regexp_matches(
    -- Cyrillic
    'а a б b в v г g д d е e ё yo ж zh з z и i й y к k л l м m н n о o п p р r с s т t у u ф f х kh ц ts ч ch ш sh '
    'щ shch ъ - ы y ь - э e ю yu я ya і i ї yi є ye ґ g ў u ђ dj ј j љ lj њ nj ћ c џ dz ѓ gj ѕ dz ќ kj ә a ғ gh қ q '
    'ң ng ө o ұ u ү u һ h ҳ h ҷ j ӣ i ӯ u '
    -- Greek
    'α a β v γ g δ d ε e ζ z η i θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o '
    -- Armenian
    'ա a բ b գ g դ d ե e զ z է e ը y թ t ժ zh ի i լ l խ kh ծ ts կ k հ h ձ dz ղ gh ճ ch մ m յ y ն n շ sh ո o չ ch պ p '
    'ջ j ռ r ս s վ v տ t ր r ց ts ւ v փ p ք k օ o ֆ f '
    -- Georgian
    'ა a ბ b გ g დ d ე e ვ v ზ z თ t ი i კ k ლ l მ m ნ n ო o პ p ჟ zh რ r ს s ტ t უ u ფ p ქ k ღ gh ყ q შ sh ჩ ch ც ts '
    'ძ dz წ ts ჭ ch ხ kh ჯ j ჰ h '
    -- Hebrew and Arabic, which seldom write vowels
    'א a ב b ג g ד d ה h ו v ז z ח ch ט t י y כ k ך k ל l מ m ם m נ n ן n ס s ע - פ p ף f צ ts ץ ts ק k ר r ש sh ת t '
    'ا a ب b ت t ث th ج j ح h خ kh د d ذ dh ر r ز z س s ش sh ص s ض d ط t ظ z ع - غ gh ف f ق q ك k ل l م m ن n ه h '
    'و w ي y ى a ة a ء - أ a إ i آ a ؤ w ئ y پ p چ ch ژ zh گ g ک k ی y '
    '٠ 0 ١ 1 ٢ 2 ٣ 3 ٤ 4 ٥ 5 ٦ 6 ٧ 7 ٨ 8 ٩ 9 ۰ 0 ۱ 1 ۲ 2 ۳ 3 ۴ 4 ۵ 5 ۶ 6 ۷ 7 ۸ 8 ۹ 9 '
    -- Devanagari
    'अ a आ a इ i ई i उ u ऊ u ऋ ri ए e ऐ ai ओ o औ au ा a ि i ी i ु u ू u ृ ri े e ै ai ो o ौ au ं n ँ n ः h ् - '
    'क k ख kh ग g घ gh ङ n च ch '
    'छ chh ज j झ jh ञ n ट t ठ th ड d ढ dh ण n त t थ th द d ध dh न n प p फ ph ब b भ bh म m य y र r '
    'ल l ळ l व v श sh ष sh स s ह h ० 0 १ 1 २ 2 ३ 3 ४ 4 ५ 5 ६ 6 ७ 7 ८ 8 ९ 9 ',
    '(\S) (\S+)', 'g'
) as pair;

-- Kana: Katakana lie 96 places behind Hiragana.
insert into private.transliterations (letter, latin)
select chr(ascii(pair[1]) + shift.places), pair[2]
from regexp_matches(
    'あ a い i う u え e お o か ka き ki く ku け ke こ ko が ga ぎ gi ぐ gu げ ge ご go さ sa し shi す su せ se そ so '
    'ざ za じ ji ず zu ぜ ze ぞ zo た ta ち chi つ tsu て te と to だ da ぢ ji づ zu で de ど do な na に ni ぬ nu ね ne '
    'の no は ha ひ hi ふ fu へ he ほ ho ば ba び bi ぶ bu べ be ぼ bo ぱ pa ぴ pi ぷ pu ぺ pe ぽ po ま ma み mi む mu '
    'め me も mo や ya ゆ yu よ yo ら ra り ri る ru れ re ろ ro わ wa を o ん n ゔ vu っ + ゃ ^ya ゅ ^yu ょ ^yo ぁ ^a '
    'ぃ ^i ぅ ^u ぇ ^e ぉ ^o ',
    '(\S) (\S+)', 'g'
) as pair
cross join (values (0), (96)) as shift (places);

insert into private.transliterations (letter, latin) values ('ー', '');

-- Hangul's letters as syllables fall apart into them: first consonants, vowels, last consonants.
insert into private.transliterations (letter, latin)
select chr(part.first + l.place::integer - 1), replace(l.latin, '-', '')
from (
    values
    (4352, 'g kk n d tt r m b pp s ss - j jj ch k t p h'),
    (4449, 'a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i'),
    (4520, 'k k ks n nj nh t l lk lm lb ls lt lp lh m p ps t t ng t t k t p h')
) as part (first, letters)
cross join regexp_split_to_table(part.letters, ' ') with ordinality as l (latin, place);

insert into private.error_codes (code, sqlstate, message, description) values
('text_not_visible', 'PT400', 'Please write something that can be seen.',
'The text in the detail (a column) is missing or made of spaces and invisible characters only.'),
('reason_required', 'PT400', 'A reason is required.',
'Give people 1 to 500 characters they can read; for a report, one of the values of report_reason.');
