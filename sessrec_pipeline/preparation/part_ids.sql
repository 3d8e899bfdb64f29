-- The parts as sessions of their own. Every one has a number, the first one too: were it not, the second part of 'a' and
-- a session that the log itself calls 'a#2' would be one.
-- In: parts (session, part, ...), session_ids (id, code)
SELECT id, session, part, CAST(ROW_NUMBER() OVER (ORDER BY id) - 1 AS INT) AS code
FROM (
    SELECT
        cut.session, cut.part,
        session_ids.id || '#' || CAST(cut.part + 1 AS STRING) AS id
    FROM (SELECT DISTINCT session, part FROM parts) AS cut
    JOIN session_ids ON session_ids.code = cut.session
) AS named
