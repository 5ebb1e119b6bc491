import EntractePlan

/// A plan's host steps against the table of host operations, and the files that they name.
public enum HostChecks {
    /// Each names a row of the table, with its params, inputs and ports, and files of the plan. Throws a
    /// `Fault` of kind `plan`.
    public static func check(_ plan: Plan) throws {
        let decls = Dictionary(plan.program.tensors.map { ($0.name, $0) }) { $1 }
        let given = Dictionary(plan.program.inputs.map { ($0.name, $0) }) { $1 }
        let files = Set(plan.files.map(\.path))
        for step in steps(plan) {
            try StepCheck(step: step, plan: plan, decls: decls, given: given, files: files).check()
        }
        for output in plan.program.outputs
        where plan.built && output.kind == .text && !files.contains(output.tokenizer) {
            throw Fault.plan(
                "plan: output \(output.name) needs \(words(output.tokenizer)), which is no file of the plan")
        }
    }

    /// Files whose size follows from a step's params, and that size.
    public static func exactBytes(_ plan: Plan) -> [String: Int] {
        var found: [String: Int] = [:]
        for step in steps(plan) {
            let params = HostParams(step)
            guard let op = HostTable.row(step.op), let size = op.fileBytes(params) else { continue }
            for name in op.files.compactMap(params.text) { found[name] = size }
        }
        return found
    }

    private static func steps(_ plan: Plan) -> [HostStep] {
        plan.program.segments.flatMap(\.steps).compactMap {
            if case .host(let step) = $0 { step } else { nil }
        }
    }
}

private struct StepCheck {
    let step: HostStep
    let plan: Plan
    let decls: [String: TensorDecl]
    let given: [String: Input]
    let files: Set<String>

    private var place: String { "plan: stage \(step.stage)" }

    func check() throws {
        guard let op = HostTable.row(step.op) else {
            throw Fault.plan("\(place): the host step \(words(step.op)) is none of \(HostTable.names)")
        }
        let params = HostParams(step)
        guard params.names.count == step.params.count else {
            throw Fault.plan("\(place): a param of \(op.name) is given twice")
        }
        if let fault = op.fault(params, inputs: step.inputs.map(\.port)) {
            throw Fault.plan("\(place): \(fault)")
        }
        let tensors = try inputs(op)
        if let fault = op.wiredFault(params, tensors) { throw Fault.plan("\(place): \(fault)") }
        try checkPorts(op.ports(params, tensors))
        let missing = sortedByScalars(Set(op.files.compactMap(params.text)).subtracting(files)).first
        if plan.built, let missing {
            throw Fault.plan("\(place): \(op.name) needs \(missing), which is no file of the plan")
        }
    }

    /// The tensors that a step reads, by input.
    private func inputs(_ op: HostOp) throws -> [String: Port] {
        var tensors: [String: Port] = [:]
        for input in step.inputs {
            guard let reads = op.inputs.first(where: { $0.name == input.port }) else { continue }
            let reading = "\(place): \(input.port) reads \(words(input.value))"
            switch reads.kind {
            case .tensor: tensors[input.port] = try tensor(input.value, reading)
            case .given(let kind): try checkGiven(kind, input.value, reading)
            }
        }
        return tensors
    }

    private func tensor(_ name: String, _ reading: String) throws -> Port {
        guard let decl = decls[name] else {
            throw Fault.plan("\(reading), no tensor; a host step reads whole tensors")
        }
        guard decl.slots == 1, decl.streamed == 0 else {
            throw Fault.plan("\(reading), a tensor in pieces; a host step reads whole tensors")
        }
        return decl.port
    }

    private func checkGiven(_ kind: Input.Kind, _ name: String, _ reading: String) throws {
        guard let input = given[name] else {
            let names = plan.program.inputs.map(\.name).joined(separator: ", ")
            throw Fault.plan(
                "\(reading); here a host step reads inputs of the plan: \(names.isEmpty ? "it has none" : names)")
        }
        guard input.kind == kind else { throw Fault.plan("\(reading), which is a \(input.kind.rawValue)") }
    }

    private func checkPorts(_ ports: [Port]) throws {
        for binding in step.outputs {
            guard let port = ports.first(where: { $0.name == binding.feature }) else {
                let names = ports.map(\.name).joined(separator: ", ")
                throw Fault.plan("\(place): \(step.op) gives \(names), not \(words(binding.feature))")
            }
            guard let tensor = decls[binding.tensor]?.port else {
                throw Fault.plan("\(place): \(binding.tensor) is no tensor of the program")
            }
            guard port.shape == tensor.shape, port.dtype == tensor.dtype else {
                throw Fault.plan(
                    "\(place): \(step.op) gives \(port.name) as \(port.dtype) \(tuple(port.shape)), tensor "
                        + "\(binding.tensor) is \(tensor.dtype) \(tuple(tensor.shape))")
            }
        }
    }

    private func tuple(_ shape: [Int]) -> String {
        "(" + shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? ",)" : ")")
    }
}
