// Package schemas holds the formats that outlive a process: the Avro schemas
// of the log's topics and the migrations of the warehouse.
package schemas

import "embed"

// Avro holds the Avro schemas, one file per record type.
//
//go:embed *.avsc
var Avro embed.FS

// Released holds every version of the Avro schemas that was ever released, as
// <record>.<n>.avsc: messages in the log outlive the version that wrote them,
// and are read by the schema whose fingerprint they carry. A released file
// never changes; a schema that is to change is first copied here.
//
//go:embed released/*.avsc
var Released embed.FS

// ClickHouse holds the warehouse's migrations: single/ for one server,
// cluster/ for a sharded and replicated one. Files run in the order of their
// names; a file that was released never changes.
//
//go:embed clickhouse
var ClickHouse embed.FS
