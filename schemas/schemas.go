// Package schemas holds the formats that outlive a process: the Avro schemas
// of the log's topics and the migrations of the warehouse.
package schemas

import "embed"

// Avro holds the Avro schemas, one file per record type.
//
//go:embed *.avsc
var Avro embed.FS

// ClickHouse holds the warehouse's migrations: single/ for one server,
// cluster/ for a sharded and replicated one. Files run in the order of their
// names; a file that was released never changes.
//
//go:embed clickhouse
var ClickHouse embed.FS
