-- The events under their parts' numbers.
-- In: parts (session, part, item, time, place, split), part_ids (id, session, part, code)
SELECT part_ids.code AS session, parts.item, parts.time, parts.place, parts.split
FROM parts
JOIN part_ids ON part_ids.session = parts.session AND part_ids.part = parts.part
