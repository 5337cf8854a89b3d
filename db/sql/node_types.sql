-- Node types.

-- name: upsert_node_types
-- Keep specs; an equal one is left alone.
insert into node_types as known (type, subtype, type_version, spec)
     select *
       from unnest($1::text[], $2::text[], $3::integer[], $4::json[])
on conflict (type, subtype, type_version) do update
        set spec = excluded.spec
      where known.spec::text <> excluded.spec::text;

-- name: load_node_types
-- Every spec.
  select spec
    from node_types
order by type, subtype, type_version;
