package logtest_test

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

func TestLogContract(t *testing.T) { logtest.Run(t, brokertest.Brokers(t)) }
