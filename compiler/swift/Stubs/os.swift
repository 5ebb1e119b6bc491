// What we use of the module os, in our own words. Nothing here runs.

/// os/os_proc_available_memory: iOS 13; not on macOS. 0 where there is no limit, as in the simulator.
public func os_proc_available_memory() -> Int { fatalError() }
