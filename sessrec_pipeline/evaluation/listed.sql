-- How often each item stands at each place of the lists of one model.
-- In: rankings (session, position, top_items); popularity (item, popularity_rank). Values: $places, the longest list.
SELECT p.popularity_rank - 1 AS item_index, l.place - 1 AS place, COUNT(*) AS lists
FROM (
    SELECT UNNEST(top_items[:$places]) AS item, GENERATE_SUBSCRIPTS(top_items[:$places], 1) AS place FROM rankings
) AS l
JOIN popularity AS p ON p.item = l.item
GROUP BY p.popularity_rank, l.place
ORDER BY p.popularity_rank, l.place
