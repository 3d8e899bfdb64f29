-- The $neighbours items whose training sessions are most like those of each item: cosine with $regularisation; among
-- equals the item that training saw first.
-- In: train (session_number, position, item, ...). Values: $neighbours, $regularisation.
SELECT item, other_item, similarity, similarity_rank
FROM (
    SELECT
        item,
        other_item,
        similarity,
        CAST(ROW_NUMBER() OVER (PARTITION BY item ORDER BY similarity DESC, first_seen) AS BIGINT) AS similarity_rank
    FROM (
        SELECT
            together.item,
            together.other_item,
            together.sessions / NULLIF(
                SQRT((one.sessions + $regularisation) * (other.sessions + $regularisation)), 0
            ) AS similarity,
            other.first_seen
        FROM (
            SELECT one.item, other.item AS other_item, CAST(COUNT(*) AS BIGINT) AS sessions
            FROM visited AS one
            JOIN visited AS other ON other.session_number = one.session_number
            WHERE other.item <> one.item
            GROUP BY one.item, other.item
        ) AS together
        JOIN visits AS one ON one.item = together.item
        JOIN visits AS other ON other.item = together.other_item
    ) AS compared
) AS ranked
WHERE similarity_rank <= $neighbours
ORDER BY item, similarity_rank
