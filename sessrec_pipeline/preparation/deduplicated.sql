-- Exact copies of a row dropped; the first one in (log, row) order stays.
-- In: events (session, item, time, log, line, split, extra)
SELECT session, item, time, log, line, split
FROM (
    SELECT
        session, item, time, log, line, split,
        ROW_NUMBER() OVER (PARTITION BY session, item, time, split, extra ORDER BY log, line) AS copy
    FROM events
) AS numbered
WHERE copy = 1
