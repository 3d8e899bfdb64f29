-- Sessions of at least $shortest events.
-- In: candidates (session, item, ...)
SELECT e.session, e.item, e.time, e.log, e.line, e.split
FROM candidates AS e
JOIN (
    SELECT session FROM candidates GROUP BY session HAVING COUNT(*) >= $shortest
) AS kept ON kept.session = e.session
