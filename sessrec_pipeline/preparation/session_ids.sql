-- Sessions as numbers: every session id of the landed logs once, numbered in the order of the text.
-- In: landed (session, ...)
SELECT id, CAST(ROW_NUMBER() OVER (ORDER BY id) - 1 AS INT) AS code
FROM (SELECT DISTINCT session AS id FROM landed) AS ids
