-- Items with at least $support events.
-- In: candidates (session, item, ...)
SELECT e.session, e.item, e.time, e.log, e.line, e.split
FROM candidates AS e
JOIN (
    SELECT item FROM candidates GROUP BY item HAVING COUNT(*) >= $support
) AS kept ON kept.item = e.item
