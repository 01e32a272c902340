{{- /* One pass over an experiment's rows gives everything that is not a series. */ -}}
WITH
{{- template "people" .}}
{{- if .Names}},
  per_step AS (
    SELECT v, kept, switched, lo
{{- range $j, $b := .Bases}},
      arrayCount(x -> {{template "reads" $b}}, xs) AS n{{$j}}
{{- if $b.Valued}},
      arraySum(arrayMap((y, x) -> if({{template "reads" $b}}, toInt128(y), toInt128(0)), ys, yx)) AS s{{$j}}
{{- end}}{{end}}
{{- range $j, $f := .Funnels}},
      arraySort(arrayFilter(x -> {{template "reads" $f}}, xs)) AS b{{$j}}
{{- range $f.Steps}},
      {{if .Previous}}if(p{{$j}}_{{.Previous}} = 0, 0, {{end}}arrayFirst(x -> bitAnd(x, 4095) = {{.Name}}
        {{- if .Previous}} AND bitShiftRight(x, 12) >= bitShiftRight(p{{$j}}_{{.Previous}}, 12){{end}}
        {{- if .Same}} AND bitShiftRight(x, 12) > bitShiftRight(p{{$j}}_{{.Same}}, 12){{end}}, b{{$j}}){{if .Previous}}){{end}} AS p{{$j}}_{{.Step}}
{{- end}}{{end}}
    FROM since
  )
{{- end}}
SELECT part, variant, detail, cells
FROM (
  SELECT toUInt8(1) AS part, v AS variant, '' AS detail,
    [toString(countIf(NOT switched)), toString(countIf(switched))
{{- range $j, $b := .Bases}},
      toString(sumIf(toUInt128(n{{$j}}), kept)), toString(sumIf(toUInt128(n{{$j}}) * n{{$j}}, kept)), toString(countIf(kept AND n{{$j}} > 0))
{{- if $b.Valued}},
      toString(sumIf(s{{$j}}, kept)), toString(sumIf(toInt256(s{{$j}}) * s{{$j}}, kept))
{{- end}}{{end}}
{{- range $j, $f := .Funnels}}{{range $s := $f.Steps}},
      toString(countIf(kept AND p{{$j}}_{{$s.Step}} > 0)),
      toString(quantileExactLowIf(0.5)(toInt64(bitShiftRight(p{{$j}}_{{$s.Step}}, 12)) - toInt64(bitShiftRight(lo, 12)), kept AND p{{$j}}_{{$s.Step}} > 0))
{{- end}}{{end}}
    ] AS cells
  FROM {{if .Names}}per_step{{else}}since{{end}}
  GROUP BY v
  UNION ALL
  SELECT toUInt8(2) AS part,
    toUInt16(multiIf(anchor = 0, 1, bitAnd(flags, {fallback:UInt8}) != 0, 2, override_reason != '', 3, NOT has({variants:Array(String)}, variant), 4, 0)) AS class,
    multiIf(class IN (1, 2), toString(sdk_error), class = 3, toString(override_reason), class = 4, toString(variant), '') AS detail,
    [toString(uniqExactIf(event_id, class != 0)), toString(toUnixTimestamp64Micro(max(time))), toString(toUnixTimestamp64Micro(max(received_at)))] AS cells
  FROM exposures_raw
  WHERE {{template "exposed"}}
  GROUP BY class, detail
)
ORDER BY part, variant, detail
SETTINGS enable_shared_storage_snapshot_in_query = 1, query_plan_join_swap_table = 'false', distributed_product_mode = 'local'
