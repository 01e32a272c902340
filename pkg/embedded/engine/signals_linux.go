package engine

import (
	"syscall"
	"unsafe"
)

// action is the kernel's struct sigaction on 64-bit Linux.
type action struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	lastSignal = 64
	saOnStack  = 0x08000000
)

func sigaction(signal int, set, old *action) {
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}

// keepSignals runs f and puts the process's signal handlers back as they were.
// Opening the engine replaces Go's handlers of SIGSEGV and its kind, without
// which a nil dereference kills the process instead of panicking; the
// library's own switch for that resets them to the default, which is no better.
//
// The engine's one new handler (a real-time signal by which it asks threads
// for their stacks) stays, but on the signal stack: it may land on a thread
// that runs a goroutine, whose own stack is too small for it.
func keepSignals(f func()) {
	var before [lastSignal + 1]action
	for s := 1; s <= lastSignal; s++ {
		sigaction(s, nil, &before[s])
	}
	f()
	for s := 1; s <= lastSignal; s++ {
		var now action
		sigaction(s, nil, &now)
		switch {
		case now == before[s]:
		case s > 32 && before[s].handler == 0:
			now.flags |= saOnStack
			sigaction(s, &now, nil)
		default:
			sigaction(s, &before[s], nil)
		}
	}
}
