/// Programs: what is computed, in which order.
extension Decoder {
    func program(_ node: Int) throws -> Program {
        let f = try opened(node, .program)
        let made = Program(
            inputs: try list(needed(f, 0)) { try input($0) },
            constants: try list(needed(f, 1)) { try port($0) },
            tensors: try list(needed(f, 2)) { try tensor($0) },
            segments: try list(needed(f, 3)) { try segment($0) },
            outputs: try list(needed(f, 4)) { try output($0) })
        closed(f)
        return made
    }

    func port(_ node: Int) throws -> Port {
        let f = try opened(node, .port)
        let made = Port(
            name: try text(needed(f, 0)), shape: try wholes(needed(f, 1), .count),
            dtype: try choice(needed(f, 2)))
        closed(f)
        try checkShape(made.shape, f)
        return made
    }

    /// How many axes a tensor may have.
    private static var mostAxes: Int { 16 }

    private func checkShape(_ shape: [Int], _ port: Fields) throws {
        guard let node = self.node(port, 1) else { return }
        if shape.count > Self.mostAxes {
            throw fault("\(shape.count) axes, at most \(Self.mostAxes) are possible", node)
        }
        var elements = 1
        for extent in shape { elements = times(elements, extent) }
        if elements > Int.max / 4 {
            throw fault("\(words(tape, node)) has more elements than any memory", node)
        }
    }

    private func input(_ node: Int) throws -> Input {
        let f = try opened(node, .input)
        let name = try text(needed(f, 0))
        let kind = try text(needed(f, 1))
        let value = try given(needed(f, 2))
        let port = try self.node(f, 3).flatMap { try nullable($0) { try self.port($0) } }
        let choices = try self.node(f, 4).map { try texts($0) } ?? []
        let least = try self.node(f, 5).flatMap { try nullable($0) { try number($0, .signed) } }
        let most = try self.node(f, 6).flatMap { try nullable($0) { try number($0, .signed) } }
        let low = try self.node(f, 7).map { try number($0, .signed) } ?? 0
        let high = try self.node(f, 8).map { try number($0, .signed) } ?? 1
        let fit = try self.node(f, 9).map { try text($0) } ?? "crop"
        let rate = try self.node(f, 10).map { try number($0) } ?? 0
        guard let known = Input.Kind(rawValue: kind) else {
            let article = "aeiou".contains(kind.prefix(1)) || kind.isEmpty ? "an" : "a"
            let names = Input.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw Fault.plan("plan: input \(name) is \(article) \(kind), not one of \(names)")
        }
        closed(f)
        return Input(
            name: name, kind: known, default: value, port: port, choices: choices, least: least, most: most,
            low: low, high: high, fit: fit, rate: rate)
    }

    /// An input's default: a text, a number or nothing.
    private func given(_ node: Int) throws -> Param? {
        switch tape.nodes[node].kind {
        case .null: return nil
        case .text: return .text(tape.text(node))
        case .whole: if tape.whole(node) != nil { return .whole(try whole(node, .signed)) }
        case .real:
            let value = tape.real(node)
            if value.isFinite { return .number(value) }
        default: break
        }
        throw fault("\(shortWords(tape, node)) is of no allowed type", node)
    }

    private func output(_ node: Int) throws -> Output {
        let f = try opened(node, .output)
        let name = try text(needed(f, 0))
        let kind = try text(needed(f, 1))
        let values = try texts(needed(f, 2))
        let axis = try whole(needed(f, 3))
        let rate = try self.node(f, 4).map { try number($0, .rate) } ?? 0
        let low = try self.node(f, 5).map { try number($0, .signed) } ?? 0
        let high = try self.node(f, 6).map { try number($0, .signed) } ?? 1
        let tokenizer = try self.node(f, 7).map { try text($0) } ?? ""
        let end = try self.node(f, 8).map { try wholes($0) } ?? []
        guard let known = Output.Kind(rawValue: kind) else {
            let names = Output.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw Fault.plan("plan: output \(name) is a \(words(kind)), not one of \(names)")
        }
        closed(f)
        return Output(
            name: name, kind: known, values: values, axis: axis, rate: rate, low: low, high: high,
            tokenizer: tokenizer, end: end)
    }

    private func tensor(_ node: Int) throws -> TensorDecl {
        let f = try opened(node, .tensor)
        let made = TensorDecl(
            port: try port(needed(f, 0)),
            slots: try self.node(f, 1).map { try whole($0, .count) } ?? 1,
            streamed: try self.node(f, 2).map { try whole($0) } ?? 0)
        closed(f)
        return made
    }

    private func segment(_ node: Int) throws -> Segment {
        let f = try opened(node, .segment)
        let made = Segment(
            name: try text(needed(f, 0)),
            count: try whole(needed(f, 1), .count),
            steps: try list(needed(f, 2)) { try step($0) },
            state: try self.node(f, 3).map { try list($0) { try carried($0) } } ?? [],
            frees: try self.node(f, 4).map { try texts($0) } ?? [],
            until: try self.node(f, 5).flatMap { try nullable($0) { try text($0) } },
            sliced: try self.node(f, 6).map { try flag($0) } ?? false)
        closed(f)
        return made
    }

    private func carried(_ node: Int) throws -> Carried {
        let (name, first, next) = try triple(node)
        return Carried(name: try text(name), first: try text(first), next: try text(next))
    }

    /// A member of a union says by `type` which one it is.
    private func step(_ node: Int) throws -> Step {
        let tag = tagNode(node)
        if let tag, tape.nodes[tag].kind == .text {
            if tape.isKey(tag, Schema.call.utf8) { return .call(try call(node)) }
            if tape.isKey(tag, Schema.host.utf8) { return .host(try host(node)) }
        }
        let given = tag.map { words(tape, $0) } ?? "None"
        throw fault("the type \(given) is none of Call, HostStep", node)
    }

    private func tagNode(_ node: Int) -> Int? {
        guard tape.nodes[node].kind == .object else { return nil }
        var key = node + 1
        while key < Int(tape.nodes[node].next) {
            if tape.isKey(key, Schema.tagName) { return key + 1 }
            key = tape.behind(key + 1)
        }
        return nil
    }

    private func call(_ node: Int) throws -> Call {
        let f = try opened(node, .call)
        let made = Call(
            stage: try text(needed(f, 0)),
            chunk: try text(needed(f, 1)),
            inputs: try list(needed(f, 2)) { try binding($0) },
            outputs: try list(needed(f, 3)) { try binding($0) },
            repeat: try self.node(f, 4).map { try whole($0, .count) } ?? 1,
            frees: try self.node(f, 5).map { try texts($0) } ?? [],
            function: try self.node(f, 6).map { try text($0) } ?? "main",
            switch: try self.node(f, 7).map { try list($0) { try oneSwitch($0) } } ?? [],
            at: try self.node(f, 8).map { try wholes($0) } ?? [],
            restsBy: try self.node(f, 9).map { try text($0) } ?? "")
        closed(f)
        return made
    }

    private func oneSwitch(_ node: Int) throws -> Switch {
        let (function, below) = try pair(node)
        return Switch(function: try text(function), below: try whole(below))
    }

    private func host(_ node: Int) throws -> HostStep {
        let f = try opened(node, .host)
        let made = HostStep(
            stage: try text(needed(f, 0)),
            op: try text(needed(f, 1)),
            params: try list(needed(f, 2)) { try namedParam($0) },
            inputs: try list(needed(f, 3)) { try hostInput($0) },
            outputs: try list(needed(f, 4)) { try binding($0) },
            frees: try self.node(f, 5).map { try texts($0) } ?? [])
        closed(f)
        return made
    }

    private func hostInput(_ node: Int) throws -> HostInput {
        let (port, value) = try pair(node)
        return HostInput(port: try text(port), value: try text(value))
    }

    private func namedParam(_ node: Int) throws -> NamedParam {
        let (name, value) = try pair(node)
        return NamedParam(name: try text(name), value: try param(value, Self.paramDepth))
    }

    /// How deep in a plan a value of `params` lies: plan, program, segments, segment, steps, step (of a
    /// union: twice), params, pair, value.
    private static var paramDepth: Int { 9 }

    /// Items of lists are named by the whole value's place, `root`.
    private func param(_ node: Int, _ depth: Int, root: Int? = nil) throws -> Param {
        let root = root ?? node
        if depth > Self.deepest { throw fault("nested deeper than \(Self.deepest)", root) }
        switch tape.nodes[node].kind {
        case .null: return .none
        case .no: return .flag(false)
        case .yes: return .flag(true)
        case .text: return .text(tape.text(node))
        case .list: return .list(try list(node) { try param($0, depth + 1, root: root) })
        case .whole:
            if tape.whole(node) != nil { return .whole(try whole(node, .signed)) }
            throw fault("\(wholeWords(tape, node)) does not fit into 64 bits", root)
        case .real:
            let value = tape.real(node)
            if value.isFinite { return .number(value) }
            throw fault("\(words(value)) is not finite", root)
        case .object: throw fault("\(shortWords(tape, node)) is no parameter", root)
        }
    }

    private func binding(_ node: Int) throws -> Binding {
        let f = try opened(node, .binding)
        let made = Binding(
            feature: try text(needed(f, 0)),
            tensor: try text(needed(f, 1)),
            by: try self.node(f, 2).map { try choice($0) } ?? .whole,
            windows: try self.node(f, 3).map { try list($0) { try window($0) } } ?? [])
        closed(f)
        return made
    }

    private func window(_ node: Int) throws -> Window {
        let f = try opened(node, .window)
        let made = Window(
            axis: try whole(needed(f, 0)), size: try whole(needed(f, 1), .count),
            count: try whole(needed(f, 2), .count), stride: try whole(needed(f, 3), .count),
            start: try self.node(f, 4).map { try whole($0) } ?? 0)
        closed(f)
        return made
    }

    // MARK: lists of single values

    func texts(_ node: Int) throws -> [String] { try list(node) { try text($0) } }

    func wholes(_ node: Int, _ range: Range = .notNegative) throws -> [Int] {
        try list(node) { try whole($0, range) }
    }

    func namedNumbers(_ node: Int, _ range: Range) throws -> [NamedNumber] {
        try list(node) {
            let (name, value) = try pair($0)
            return NamedNumber(name: try text(name), value: try number(value, range))
        }
    }

    /// Nothing where it is `null`.
    func nullable<T>(_ node: Int, _ read: (Int) throws -> T) throws -> T? {
        tape.nodes[node].kind == .null ? nil : try read(node)
    }
}
