-- Sessions of at most $longest events.
-- In: without_repeats (session, ...), session_lengths (session, events)
SELECT e.session, e.item, e.time, e.place, e.split
FROM without_repeats AS e
JOIN session_lengths AS kept ON kept.session = e.session
WHERE kept.events <= $longest
