import EntractePlan

/// A plan's host steps against the table of host operations, for whoever read it without.
public enum HostChecks {
    /// Each names a row of the table, with its params, inputs and ports, and files of the plan. Throws a
    /// `Fault` of kind `plan`.
    public static func check(_ plan: Plan) throws { try plan.checkHostSteps(HostTable.rows) }

    /// Files whose size follows from a step's params, and that size.
    public static func exactBytes(_ plan: Plan) -> [String: Int] { plan.exactBytes(HostTable.rows) }
}
