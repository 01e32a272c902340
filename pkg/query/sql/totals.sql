{{- /* One pass over an experiment's rows gives everything that is not a
series. The text's shape follows the metrics; every value is a parameter. */ -}}
WITH
  owners AS (
    SELECT visitor, first.3 AS owner FROM identities_state FINAL WHERE project = {project:String}
  ),
  -- One row per exposed entity: f packs the first exposure's time since the
  -- start (µs) with its variant's number, so that the minimum is the first.
  ex AS (
    SELECT
      if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e,
      min(bitShiftLeft(toUInt64(toUnixTimestamp64Micro(r.time) - {start:Int64}), 16) + indexOf({variants:Array(String)}, r.variant)) AS f,
      groupBitOr(bitShiftLeft(toUInt64(1), indexOf({variants:Array(String)}, r.variant))) AS seen
    FROM exposures_raw AS r
    LEFT ANY JOIN owners AS o ON r.anchor = o.visitor
    WHERE r.project = {project:String} AND r.experiment = {experiment:String}
      AND r.time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND r.time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
      AND r.received_at >= fromUnixTimestamp64Micro({start:Int64} - 86400000000, 'UTC')
      AND r.anchor != 0 AND bitAnd(r.flags, {fallback:UInt8}) = 0 AND r.override_reason = ''
      AND has({variants:Array(String)}, r.variant)
    GROUP BY e
  )
{{- if .Names }},
  kept AS (SELECT e, f FROM ex WHERE bitCount(seen) = 1 OR {keep_first:UInt8} = 1),
  -- One row per event and entity: copies of an event collapse here. Copies
  -- differ in time only when the client's was replaced by the time of receipt
  -- (moved); the earliest receipt stands, so those are compared after it is found.
  ev AS (
    SELECT k.e AS e, any(x.f) AS ff, min(k.t) AS tt, any(k.i) AS ii, min(k.y) AS yy
    FROM (
      SELECT
        if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS e, r.event_id AS event_id,
        toUnixTimestamp64Micro(r.time) - {start:Int64} AS t,
        toUInt16(indexOf({names:Array(String)}, r.name)) AS i,
        r.value_micro AS y, bitAnd(r.flags, {moved:UInt8}) != 0 AS moved
      FROM kpis_raw AS r
      LEFT ANY JOIN owners AS o ON r.anchor = o.visitor
      WHERE r.project = {project:String} AND r.name IN {names:Array(String)}
        AND r.time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
        AND r.received_at >= fromUnixTimestamp64Micro({start:Int64} - 86400000000, 'UTC')
        AND r.anchor != 0
    ) AS k
    INNER JOIN kept AS x ON k.e = x.e
    WHERE k.moved OR k.t >= toInt64(bitShiftRight(x.f, 16))
    GROUP BY k.e, k.event_id
    HAVING tt >= toInt64(bitShiftRight(ff, 16))
  ),
  per_entity AS (
    SELECT
      e, toUInt16(bitAnd(any(ff), 65535)) AS v, toInt64(bitShiftRight(any(ff), 16)) AS t0
{{- range $j, $b := .Bases}},
      countIf({{template "within" $b}}) AS n{{$j}},
      sumIf(toInt128(yy), {{template "within" $b}}) AS s{{$j}}
{{- end}}
{{- range $j, $f := .Funnels}},
      arraySort(groupArrayIf(bitShiftLeft(toUInt64(tt), 16) + ii, {{template "within" $f}})) AS b{{$j}}
{{- end}}
    FROM ev
    GROUP BY e
  ),
  per_step AS (
    SELECT v, t0
{{- range $j, $b := .Bases}}, n{{$j}}, s{{$j}}{{end}}
{{- range $j, $f := .Funnels}}{{range $f.Steps}},
      {{if .Previous}}if(p{{$j}}_{{.Previous}} = 0, 0, {{end}}arrayFirst(x -> bitAnd(x, 65535) = {{.Name}}
        {{- if .Previous}} AND bitShiftRight(x, 16) >= bitShiftRight(p{{$j}}_{{.Previous}}, 16){{end}}
        {{- if .Same}} AND bitShiftRight(x, 16) > bitShiftRight(p{{$j}}_{{.Same}}, 16){{end}}, b{{$j}}){{if .Previous}}){{end}} AS p{{$j}}_{{.Step}}
{{- end}}{{end}}
    FROM per_entity
  )
{{- end}}
SELECT part, variant, detail, cells
FROM (
  SELECT toUInt8(1) AS part, toUInt16(bitAnd(f, 65535)) AS variant, '' AS detail,
    [toString(countIf(bitCount(seen) = 1)), toString(countIf(bitCount(seen) > 1))] AS cells
  FROM ex
  GROUP BY variant
  UNION ALL
  SELECT toUInt8(3) AS part,
    toUInt16(multiIf(anchor = 0, 1, bitAnd(flags, {fallback:UInt8}) != 0, 2, override_reason != '', 3, NOT has({variants:Array(String)}, variant), 4, 0)) AS class,
    multiIf(class IN (1, 2), toString(sdk_error), class = 3, toString(override_reason), class = 4, toString(variant), '') AS detail,
    [toString(count()), toString(uniqExactIf(event_id, class != 0)), toString(toUnixTimestamp64Micro(max(time))), toString(toUnixTimestamp64Micro(max(received_at)))] AS cells
  FROM exposures_raw
  WHERE project = {project:String} AND experiment = {experiment:String}
    AND time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
    AND received_at >= fromUnixTimestamp64Micro({start:Int64} - 86400000000, 'UTC')
  GROUP BY class, detail
{{- if .Names}}
  UNION ALL
  SELECT toUInt8(2) AS part, v AS variant, '' AS detail,
    [
{{- range $j, $b := .Bases}}{{if $j}},{{end}}
      toString(sum(toUInt128(n{{$j}}))), toString(sum(toUInt128(n{{$j}}) * n{{$j}})), toString(countIf(n{{$j}} > 0)),
      toString(sum(s{{$j}})), toString(sum(toInt256(s{{$j}}) * s{{$j}}))
{{- end}}
{{- range $j, $f := .Funnels}}{{range $i, $s := $f.Steps}}{{if or $.Bases $j $i}},{{end}}
      toString(countIf(p{{$j}}_{{$s.Step}} > 0)),
      toString(quantileExactLowIf(0.5)(toInt64(bitShiftRight(p{{$j}}_{{$s.Step}}, 16)) - t0, p{{$j}}_{{$s.Step}} > 0))
{{- end}}{{end}}
    ] AS cells
  FROM per_step
  GROUP BY v
{{- end}}
)
ORDER BY part, variant, detail
SETTINGS enable_shared_storage_snapshot_in_query = 1, query_plan_join_swap_table = 'false', distributed_product_mode = 'local'
{{- define "within"}}ii IN ({{range $i, $n := .In}}{{if $i}}, {{end}}{{$n}}{{end}})
        {{- if .Window}} AND tt < toInt64(bitShiftRight(ff, 16)) + { {{- .Window}}:Int64}{{end}}{{end}}
