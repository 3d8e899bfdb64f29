-- The table that everything downstream reads: sessions numbered by their first event, events numbered inside.
-- In: kept (session, item, time, place, split)
SELECT
    e.session,
    started.session_number,
    CAST(ROW_NUMBER() OVER (PARTITION BY started.session_number ORDER BY e.time, e.place) - 1 AS BIGINT) AS position,
    e.item,
    e.time,
    started.session_start,
    e.split
FROM kept AS e
JOIN (
    SELECT
        session, session_start,
        CAST(ROW_NUMBER() OVER (ORDER BY session_start, session) - 1 AS BIGINT) AS session_number
    FROM (SELECT session, MIN(time) AS session_start FROM kept GROUP BY session) AS first_events
) AS started ON started.session = e.session
ORDER BY session_number, position
