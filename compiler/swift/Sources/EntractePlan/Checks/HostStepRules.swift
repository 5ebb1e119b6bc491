/// A plan's host steps against the table of host operations, and the files that they name.
struct HostStepRules {
    private let rows: [any HostRow]
    private let decls: [String: TensorDecl]
    private let given: [Input]
    private let files: Set<String>
    private let built: Bool

    init(_ plan: Plan, _ rows: [any HostRow]) {
        self.rows = rows
        decls = Dictionary(plan.program.tensors.map { ($0.name, $0) }) { first, _ in first }
        given = plan.program.inputs
        files = Set(plan.files.map(\.path))
        built = plan.built
    }

    func check(_ plan: Plan) throws {
        for segment in plan.program.segments {
            for case .host(let step) in segment.steps { try check(step) }
        }
        for output in plan.program.outputs
        where built && output.kind == .text && !files.contains(output.tokenizer) {
            throw Fault.plan(
                "plan: output \(output.name) needs \(words(output.tokenizer)), which is no file of the plan")
        }
    }

    private func check(_ step: HostStep) throws {
        let place = "plan: stage \(step.stage)"
        guard let row = rows.first(where: { $0.name == step.op }) else {
            let names = rows.map(\.name).joined(separator: ", ")
            throw Fault.plan("\(place): the host step \(words(step.op)) is none of \(names)")
        }
        if Set(step.params.map(\.name)).count != step.params.count {
            throw Fault.plan("\(place): a param of \(row.name) is given twice")
        }
        if let fault = row.fault(step) { throw Fault.plan("\(place): \(fault)") }
        let tensors = try tensors(step, row, place)
        if let fault = row.wiredFault(step, tensors) { throw Fault.plan("\(place): \(fault)") }
        try checkPorts(step, row.ports(step, tensors), place)
        let missing = row.files.compactMap { fileName(step, $0) }.filter { !files.contains($0) }.inOrder()
        if built, let first = missing.first {
            throw Fault.plan("\(place): \(row.name) needs \(first), which is no file of the plan")
        }
    }

    private func fileName(_ step: HostStep, _ param: String) -> String? {
        if case .text(let name)? = step.param(param) { name } else { nil }
    }

    /// The tensors that a step reads, by input.
    private func tensors(_ step: HostStep, _ row: any HostRow, _ place: String) throws -> [String: Port] {
        var found: [String: Port] = [:]
        for read in step.inputs {
            guard let wanted = row.inputs.first(where: { $0.name == read.port }) else { continue }
            let here = "\(place): \(read.port) reads \(words(read.value))"
            switch wanted.kind {
            case .tensor: found[read.port] = try tensor(read.value, here)
            case .input(let kind): try checkGiven(read.value, kind, here)
            }
        }
        return found
    }

    private func tensor(_ name: String, _ place: String) throws -> Port {
        guard let decl = decls[name], decl.slots == 1, decl.streamed == 0 else {
            let what = decls[name] == nil ? "no tensor" : "a tensor in pieces"
            throw Fault.plan("\(place), \(what); a host step reads whole tensors")
        }
        return decl.port
    }

    private func checkGiven(_ name: String, _ kind: Input.Kind, _ place: String) throws {
        guard let input = given.first(where: { $0.name == name }) else {
            let names = given.isEmpty ? "it has none" : given.map(\.name).joined(separator: ", ")
            throw Fault.plan("\(place); here a host step reads inputs of the plan: \(names)")
        }
        if input.kind != kind { throw Fault.plan("\(place), which is a \(input.kind.rawValue)") }
    }

    private func checkPorts(_ step: HostStep, _ ports: [Port], _ place: String) throws {
        for binding in step.outputs {
            guard let tensor = decls[binding.tensor]?.port else { continue }
            guard let port = ports.first(where: { $0.name == binding.feature }) else {
                let names = ports.map(\.name).joined(separator: ", ")
                throw Fault.plan("\(place): \(step.op) gives \(names), not \(words(binding.feature))")
            }
            if port.shape != tensor.shape || port.dtype != tensor.dtype {
                throw Fault.plan(
                    "\(place): \(step.op) gives \(port.name) as \(port.dtype) \(words(port.shape)), tensor "
                        + "\(binding.tensor) is \(tensor.dtype) \(words(tensor.shape))")
            }
        }
    }
}

extension Plan {
    /// Host steps alone against the table, as `check` looks at them. Raises `Fault`.
    public func checkHostSteps(_ rows: [any HostRow]) throws { try HostStepRules(self, rows).check(self) }

    /// File -> its size, of the files whose size follows from a step's params.
    public func exactBytes(_ rows: [any HostRow]) -> [String: Int] {
        var found: [String: Int] = [:]
        for segment in program.segments {
            for case .host(let step) in segment.steps {
                guard let row = rows.first(where: { $0.name == step.op }),
                    let size = row.fileBytes(step)
                else { continue }
                for param in row.files {
                    if case .text(let name)? = step.param(param) { found[name] = size }
                }
            }
        }
        return found
    }
}
