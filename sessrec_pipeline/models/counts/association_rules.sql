-- How often each item shared a session with each other one, or with itself again: a count for each pair of events. Of
-- each item the $pruning strongest rules; among equals the pair seen first, as the second one of its events comes.
-- In: numbered (session_number, position, item, place). Values: $pruning.
SELECT item, other_item, pairs, rule_rank
FROM (
    SELECT
        item,
        other_item,
        pairs,
        CAST(ROW_NUMBER() OVER (PARTITION BY item ORDER BY pairs DESC, first_seen) AS BIGINT) AS rule_rank
    FROM (
        SELECT
            one.item,
            other.item AS other_item,
            CAST(COUNT(*) AS BIGINT) AS pairs,
            MIN(GREATEST(one.place, other.place) * 1000000 + LEAST(one.position, other.position)) AS first_seen
        FROM numbered AS one
        JOIN numbered AS other ON other.session_number = one.session_number AND other.position <> one.position
        GROUP BY one.item, other.item
    ) AS counted
) AS ranked
WHERE rule_rank <= $pruning
ORDER BY item, rule_rank
