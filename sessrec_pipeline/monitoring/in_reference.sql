-- With each item's events of a day, its events in the $reference days before; NULL where there is none.
-- In: item_days (day, item, events). Values: $reference in days.
SELECT
    day, item, events,
    CAST(SUM(events) OVER (
        PARTITION BY item ORDER BY day RANGE BETWEEN $reference PRECEDING AND 1 PRECEDING
    ) AS BIGINT) AS reference_events
FROM item_days
