//go:build !linux

package engine

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// keepSignals runs f and puts the process's signal handlers back as they were:
// opening the engine replaces Go's handlers of SIGSEGV and its kind. It goes
// through libc, with room for any platform's struct sigaction.
func keepSignals(f func()) {
	const last = 31
	var sigaction func(signal int32, set, old unsafe.Pointer) int32
	symbol, err := purego.Dlsym(purego.RTLD_DEFAULT, "sigaction")
	if err != nil {
		f()
		return
	}
	purego.RegisterFunc(&sigaction, symbol)
	var before [last + 1][256]byte
	for s := 1; s <= last; s++ {
		sigaction(int32(s), nil, unsafe.Pointer(&before[s]))
	}
	f()
	for s := 1; s <= last; s++ {
		sigaction(int32(s), unsafe.Pointer(&before[s]), nil)
	}
}
