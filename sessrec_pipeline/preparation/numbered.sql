-- Sessions numbered by their first event; in a tie, by their ids' order.
-- In: kept (session, item, time, place, split), session_ids (id, code)
SELECT
    started.session, session_ids.id, started.session_start,
    CAST(ROW_NUMBER() OVER (ORDER BY started.session_start, started.session) - 1 AS INT) AS code
FROM (SELECT session, MIN(time) AS session_start FROM kept GROUP BY session) AS started
JOIN session_ids ON session_ids.code = started.session
