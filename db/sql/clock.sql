-- name: tell_time
-- Tell the time on the database's clock.
select clock_timestamp() as now;
