-- What is known of each prediction beside the models: the columns that slices are cut by.
-- In: keys (session, position): the predictions; test (session, position, item, time): the test split;
--     train (item, time); popularity (item, popularity_rank): the training catalogue.
-- Null where training does not know the item. The day is that of the prediction, counted from 1970-01-01 UTC.
WITH first_seen AS (SELECT item, MIN(time) AS first_time FROM train GROUP BY item),
catalogue AS (SELECT COUNT(*) AS items FROM popularity),
events AS (
    SELECT
        session,
        position,
        item,
        time,
        COUNT(*) OVER (PARTITION BY session) AS session_length,
        ROW_NUMBER() OVER (PARTITION BY session ORDER BY position) - 1 AS events_before,
        ROW_NUMBER() OVER (PARTITION BY session, item ORDER BY position) - 1 AS times_before
    FROM test
)
SELECT
    CAST(e.session_length AS DOUBLE) AS session_length,
    CAST(e.events_before AS DOUBLE) AS position,
    CAST(p.popularity_rank AS DOUBLE) / c.items AS popularity,
    CAST(e.time - f.first_time AS DOUBLE) / 86400000000 AS item_age,
    CAST(e.times_before AS DOUBLE) AS repeat,
    FLOOR(CAST(e.time AS DOUBLE) / 86400000000) AS day
FROM keys AS k
JOIN events AS e ON e.session = k.session AND e.position = k.position
CROSS JOIN catalogue AS c
LEFT JOIN popularity AS p ON p.item = e.item
LEFT JOIN first_seen AS f ON f.item = e.item
ORDER BY k.session, k.position
