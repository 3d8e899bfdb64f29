-- Sessions and how many events they have.
-- In: without_repeats (session, ...)
SELECT session, CAST(COUNT(*) AS BIGINT) AS events FROM without_repeats GROUP BY session
