// Fault points: named places in the protocol where a test can make this process die, stop or fail.
//
// Compiled in only with REMUS_FAULTS (preset 'test'); otherwise the macro is nothing. A point is armed through the
// environment: REMUS_FAULT="capture.paused=kill@7" ends the process by SIGKILL the 7th time it passes the point.
// Several, separated by commas. Actions: kill, stop (SIGSTOP), exit (status 70), file:PATH (creates PATH and goes
// on, so that a test outside can act at that very moment, then waits up to 10 s for PATH to be removed).
// REMUS_FAULT_ONCE=PATH: only the first process to create PATH acts, so that a guard started again does not fall again.
#pragma once

namespace remus {
void fault_point(const char* name) noexcept;
}

#ifdef REMUS_FAULTS
#define REMUS_FAULT_POINT(name) ::remus::fault_point(name)
#else
#define REMUS_FAULT_POINT(name) static_cast<void>(0)
#endif
