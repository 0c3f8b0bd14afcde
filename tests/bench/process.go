//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child of the benchmarks: Caddy, or the program behind it.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	log    string // the file that has its standard error
	exited chan struct{}
}

// start runs the program with its standard error in a file of dir. The child ends when the context does, when
// [process.stop] is called, or, if it watches its standard input, when this process is gone.
func start(ctx context.Context, dir, name string, env []string, program string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()

	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir = dir
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is ours to hand on
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the child: with SIGTERM, and when that does not help within ten seconds, with SIGKILL.
func (p *process) stop() {
	p.end(syscall.SIGTERM)
}

func (p *process) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	_ = p.stdin.Close()
}

// failure explains err by the last lines that the child wrote.
func (p *process) failure(err error) error {
	data, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	return fmt.Errorf("%w; its last lines:\n%s", err, strings.Join(lines, "\n"))
}

// cpuTime is what the process has used of the CPU until now, user and system, in all of its threads, ended ones
// included. It is the CPU clock of another process, clock_getcpuclockid(3): nanoseconds that the scheduler counted,
// where /proc/<pid>/stat has hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	const perProcess = 2 // CPUCLOCK_SCHED of linux/posix-timers.h, without CPUCLOCK_PERTHREAD_MASK
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcess), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is what a process holds, in bytes, of /proc/<pid>/smaps_rollup and status.
type memory struct {
	Most int64 `json:"most"`      // the most that has been resident
	RSS  int64 `json:"rss"`       // resident: anonymous memory and pages of files that it mapped
	Anon int64 `json:"anonymous"` // its own: heap, stacks
	Pss  int64 `json:"pss"`       // resident, shared pages divided among those who share them
}

func memoryOf(pid int) (memory, error) {
	var m memory
	for _, source := range []struct {
		file   string
		fields map[string]*int64
	}{
		{"status", map[string]*int64{"VmHWM:": &m.Most, "VmRSS:": &m.RSS, "RssAnon:": &m.Anon}},
		{"smaps_rollup", map[string]*int64{"Pss:": &m.Pss}},
	} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, source.file))
		if err != nil {
			return m, err
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) < 2 || source.fields[fields[0]] == nil {
				continue
			}
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return m, fmt.Errorf("/proc/%d/%s: %w", pid, source.file, err)
			}
			*source.fields[fields[0]] = kb << 10
		}
	}
	if m.RSS == 0 {
		return m, errors.New("no VmRSS in /proc: the process is gone")
	}
	return m, nil
}

// machineBusy is the time that all of the machine's cores have been busy, what its host kept from it included.
func machineBusy() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var ticks [8]int64 // user nice system idle iowait irq softirq steal
	for i, field := range strings.Fields(line)[1:] {
		if i < len(ticks) {
			ticks[i], _ = strconv.ParseInt(field, 10, 64)
		}
	}
	busy := ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]
	return time.Duration(busy) * (time.Second / 100), nil // USER_HZ, the same on every Linux that Go runs on
}

// childrenTime is the CPU time of the children that have ended.
func childrenTime() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
