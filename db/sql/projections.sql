-- Nodes and connections of a draft as rows.

-- name: delete_nodes
-- Remove the nodes of a workflow, and their connections with them.
delete from nodes
 where workflow_id = $1;

-- name: insert_nodes
-- Write the nodes of a workflow.
insert into nodes (workflow_id, node_id, name, node_type, node_subtype, type_version, parameters, credentials, disabled,
                   on_error, retry_policy, timeout_s, delivery, position_x, position_y, notes, metadata)
select $1, node.*
  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::jsonb[], $8::jsonb[], $9::boolean[],
              $10::text[], $11::jsonb[], $12::double precision[], $13::text[], $14::double precision[],
              $15::double precision[], $16::text[], $17::jsonb[])
    as node;

-- name: insert_connections
-- Write the connections of a workflow; `position` keeps their order, which decides how inputs merge.
insert into node_connections (workflow_id, from_node_id, from_port, to_node_id, to_port, kind, mapping, position)
select $1, connection.*
  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
  with ordinality as connection;
