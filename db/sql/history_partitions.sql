-- Partitions of the history.

-- name: ensure_history_partitions
-- Make the partitions that are missing.
select ensure_history_partitions($1) as made;
