-- Sessions of at most $longest events.
-- In: without_repeats (session, ...)
SELECT e.session, e.item, e.time, e.place, e.split
FROM without_repeats AS e
JOIN (
    SELECT session FROM without_repeats GROUP BY session HAVING COUNT(*) <= $longest
) AS kept ON kept.session = e.session
