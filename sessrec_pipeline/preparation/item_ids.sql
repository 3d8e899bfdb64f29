-- Items as numbers: every item id of the landed logs once, numbered in the order of the text.
-- In: landed (item, ...)
SELECT id, CAST(ROW_NUMBER() OVER (ORDER BY id) - 1 AS INT) AS code
FROM (SELECT DISTINCT item AS id FROM landed) AS ids
