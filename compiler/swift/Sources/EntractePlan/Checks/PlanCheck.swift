extension Plan {
    /// Everything that a plan claims about itself: `check_plan` of `compiler/entracte/plan/file.py`, in
    /// its order and words.
    ///
    /// `rows`: the table of host operations; nil: host steps are not looked at.
    ///
    /// Whatever a plan proves, the machine's accounts refuse the first byte above the budget. Raises `Fault`.
    public func check(_ rows: [any HostRow]? = nil) throws {
        try Size.check(self)
        try Names.check(self)
        try Paths.checkFiles(self)
        try Agreement.check(self)
        try checkBudget()
        let references = References(self)
        try references.check()
        try references.checkDriver()
        let peak = try Proof.peak(self)
        try Pieces(program).checkFeatures(chunks)
        if let rows { try HostStepRules(self, rows).check(self) }
        try Size.checkPages(self)
        if peak.bytes != forecast.peakBytes {
            throw Fault.plan(
                "plan: claims a peak of \(forecast.peakBytes) bytes, the checker proves \(peak.bytes)")
        }
        try Promise(self).check(peak.step)
    }

    private func checkBudget() throws {
        let most = target.budgetBytes
        if schedule.budgetBytes > most {
            throw Fault.plan("plan: scheduled for \(schedule.budgetBytes) of \(most) bytes")
        }
    }
}

extension Target {
    /// What chunks, activations and tensors may take together.
    public var budgetBytes: Int {
        let free = Double(memoryBytes - baseFootprintBytes) * (1 - settleFraction)
        return free >= 9.2e18 ? .max : Int(free)
    }
}
