-- The table of sessions, with codes where ids and the session's start belong.
-- In: ordered (session_number, position, item, time, split)
SELECT
    session_number AS session,
    CAST(session_number AS BIGINT) AS session_number,
    CAST(position AS BIGINT) AS position,
    item, time,
    session_number AS session_start,
    split
FROM ordered
