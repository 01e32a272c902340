package analyze_test

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }
