-- The table that everything downstream reads: sessions numbered by their first event, events numbered inside.
-- In: candidates (session, item, time, log, line, split)
SELECT
    session,
    CAST(DENSE_RANK() OVER (ORDER BY session_start, session) - 1 AS BIGINT) AS session_number,
    CAST(ROW_NUMBER() OVER (PARTITION BY session ORDER BY time, log, line) - 1 AS BIGINT) AS position,
    item,
    time,
    session_start,
    split
FROM (
    SELECT
        session, item, time, log, line, split,
        MIN(time) OVER (PARTITION BY session) AS session_start
    FROM candidates
) AS started
ORDER BY session_start, session, position
