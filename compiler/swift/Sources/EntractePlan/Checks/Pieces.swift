/// Every piece that a binding takes or makes lies inside its tensor, and suits its feature.
///
/// A tensor is one array, bound whole or by windows, or several of them side by side (`slots`), bound one
/// by one, or streamed: made piece by piece, each of which goes to an output's writer as it is made. What a
/// call makes must be all of the tensor. Pieces of an output that overlap are added up in fp32, in the
/// tensor itself, which therefore is fp32.
struct Pieces {
    private let program: Program
    private let decls: [String: TensorDecl]
    private static let mostWindows = 2

    init(_ program: Program) {
        self.program = program
        decls = Dictionary(program.tensors.map { ($0.name, $0) }) { first, _ in first }
    }

    // MARK: what is given

    /// What a program is given has the tensor that its memory is counted by.
    func checkGiven() throws {
        for port in program.constants {
            let decl = decls[port.name]
            if let decl, decl.slots == 1, decl.port == port { continue }
            let there = decl.map { words($0) } ?? "not declared"
            throw Fault.plan("plan: constant \(port.name) is \(words(port)), its tensor is \(there)")
        }
        for given in program.inputs { try check(given, decls[given.name]) }
        for value in program.outputs.flatMap(\.values) {
            if let output = decls[value], output.slots != 1 {
                throw Fault.plan("plan: the output \(value) is \(words(output)), not one")
            }
        }
    }

    /// A number or a choice may have no tensor, where only the runner reads it.
    private func check(_ given: Input, _ decl: TensorDecl?) throws {
        let article = "aeiou".contains(given.kind.rawValue.prefix(1)) ? "an" : "a"
        let place = "plan: input \(given.name) is \(article) \(given.kind.rawValue)"
        let single: (shape: [Int], dtype: DType)? =
            given.kind == .number ? ([1], .fp32) : given.kind == .choice ? ([1], .int32) : nil
        let isNoTensor = given.kind == .text || given.kind == .seed
        let ported = single == nil && !isNoTensor
        if ported != (given.port != nil) {
            throw Fault.plan("\(place), \(ported ? "without" : "which has no") shape and type")
        }
        guard let decl else {
            if ported { throw Fault.plan("\(place); its tensor is not declared") }
            return
        }
        if isNoTensor { throw Fault.plan("\(place), which is no tensor") }
        guard let wanted = given.port.map({ ($0.shape, $0.dtype) }) ?? single else { return }
        let isSame = decl.port.shape == wanted.0 && decl.port.dtype == wanted.1
        if !isSame || decl.slots != 1 || decl.streamed != 0 {
            throw Fault.plan("\(place), \(wanted.1) \(words(wanted.0)); its tensor is \(words(decl))")
        }
    }

    // MARK: bindings

    /// Every binding of every step, against the tensor and the numbers of calls and iterations.
    func check() throws {
        for segment in program.segments {
            for (k, step) in segment.steps.enumerated() {
                func place() -> String { "plan: segment \(segment.name), step \(k) (\(step.label))" }
                try Names.once("\(place()): two outputs are bound to tensor", step.outputs.lazy.map(\.tensor))
                switch step {
                case .host(let host):
                    try Names.once("\(place()): two outputs are called", host.outputs.lazy.map(\.feature))
                    try check(host, place)
                case .call(let call): try check(call, segment, place)
                }
            }
        }
    }

    private func check(_ step: HostStep, _ place: () -> String) throws {
        try Names.once("\(place()): two inputs are called", step.inputs.lazy.map(\.port))
        for binding in step.outputs {
            func here() -> String { "\(place()): output \(binding.feature)" }
            if binding.by != .whole {
                throw Fault.plan("\(here()) is bound by \(binding.by); a host step gives whole tensors")
            }
            try checkWhole(binding, try decl(binding, here), here)
        }
    }

    private func check(_ call: Call, _ segment: Segment, _ place: () -> String) throws {
        try Names.once("\(place()): two inputs are called", call.inputs.lazy.map(\.feature))
        for binding in call.inputs {
            func here() -> String { "\(place()): input \(binding.feature)" }
            let decl = try decl(binding, here)
            if binding.by == .whole {
                try checkWhole(binding, decl, here)
            } else {
                try checkInput(binding, decl, Times(binding, call, segment), here)
            }
        }
        for binding in call.outputs {
            try checkOutput(binding, call, segment) { "\(place()): output \(binding.feature)" }
        }
        // Its old value is dropped before the first piece is made: there is room for one.
        for binding in call.outputs
        where binding.by != .whole && call.inputs.contains(where: { $0.tensor == binding.tensor }) {
            throw Fault.plan("\(place()) reads \(binding.tensor), which it makes piece by piece")
        }
    }

    /// How many pieces a binding takes or gives, and of what.
    private struct Times {
        let count: Int
        let words: String

        init(_ binding: Binding, _ call: Call, _ segment: Segment) {
            let byIteration = binding.by == .iteration
            count = byIteration ? segment.count : call.repeat
            words = "\(count) \(byIteration ? "iterations" : "repetitions")"
        }
    }

    private func checkOutput(
        _ binding: Binding, _ call: Call, _ segment: Segment, _ place: () -> String
    ) throws {
        let decl = try decl(binding, place)
        if binding.by != .map, call.repeat != 1 {
            throw Fault.plan(
                "\(place()) is bound \(binding.by == .whole ? "whole" : "by iteration"), and each of the "
                    + "\(call.repeat) repetitions would overwrite it; bind it by map")
        }
        if binding.by == .whole { return try checkWhole(binding, decl, place) }
        if binding.by == .iteration, !call.at.isEmpty || !call.restsBy.isEmpty {
            throw Fault.plan("\(place()) is bound by iteration, and rests in some: it would leave gaps")
        }
        let many = Times(binding, call, segment)
        if decl.streamed != 0 { try checkStreamed(binding, decl, segment, place) }
        guard !binding.windows.isEmpty else {
            let there = decl.streamed != 0 ? decl.streamed : try slots(binding, decl, place)
            if there == many.count { return }
            throw Fault.plan(
                "\(place()) makes \(many.count) of \(binding.tensor) in \(many.words), it has \(there) "
                    + "(\(words(decl)))")
        }
        try checkCount(binding, many, place)
        for window in binding.windows { try checkCovers(window, binding, decl, place) }
    }

    /// It is made once in a run, piece after piece.
    private func checkStreamed(
        _ binding: Binding, _ decl: TensorDecl, _ segment: Segment, _ place: () -> String
    ) throws {
        if !binding.windows.isEmpty {
            throw Fault.plan("\(place()) has windows in \(binding.tensor), of which one piece is there")
        }
        if binding.by == .map, segment.count != 1 {
            throw Fault.plan(
                "\(place()) makes \(binding.tensor) by map in each of \(segment.count) iterations; what is "
                    + "streamed "
                    + "(\(words(decl))) is made once")
        }
    }

    private func checkInput(
        _ binding: Binding, _ decl: TensorDecl, _ many: Times, _ place: () -> String
    ) throws {
        guard !binding.windows.isEmpty else {
            let there = try slots(binding, decl, place)
            if there >= many.count { return }
            throw Fault.plan(
                "\(place()) takes \(many.count) of \(binding.tensor) in \(many.words), it has \(there) "
                    + "(\(words(decl)))")
        }
        try checkCount(binding, many, place)
        for window in binding.windows {
            let extent = try extent(window, binding, decl, place)
            let end = end(window)
            if end <= extent { continue }
            throw Fault.plan(
                "\(place()) takes \(end) of \(binding.tensor) along axis \(window.axis) in \(many.words) of "
                    + "\(window.size), it has \(extent) (\(words(decl)))")
        }
    }

    /// Where a window's last piece ends.
    private func end(_ window: Window) -> Int {
        plus(plus(window.start, times(window.count - 1, window.stride)), window.size)
    }

    private func checkCount(_ binding: Binding, _ many: Times, _ place: () -> String) throws {
        if binding.windows.count > Self.mostWindows {
            throw Fault.plan(
                "\(place()) has \(binding.windows.count) windows, at most \(Self.mostWindows) do")
        }
        try Names.once("\(place()): two windows are along axis", binding.windows.map { "\($0.axis)" })
        let pieces = binding.windows.reduce(1) { times($0, $1.count) }
        if pieces != many.count {
            throw Fault.plan("\(place()) has \(pieces) pieces of \(binding.tensor), in \(many.words)")
        }
    }

    /// All of the axis, and nowhere more than two pieces.
    private func checkCovers(
        _ window: Window, _ binding: Binding, _ decl: TensorDecl, _ place: () -> String
    ) throws {
        let extent = try extent(window, binding, decl, place)
        let end = end(window)
        if window.start != 0 || end != extent {
            throw Fault.plan(
                "\(place()) makes \(window.start) to \(end) of \(binding.tensor) along axis \(window.axis) "
                    + "in pieces of "
                    + "\(window.size), it has \(extent) (\(words(decl)))")
        }
        let overlaps = window.stride <= window.size && window.size <= times(2, window.stride)
        if window.count > 1, !overlaps {
            throw Fault.plan(
                "\(place()): pieces of \(window.size) every \(window.stride) leave gaps, or overlap more "
                    + "than two at "
                    + "a time")
        }
        if window.isBlended, decl.port.dtype != .fp32 {
            throw Fault.plan(
                "\(place()): pieces of \(window.size) every \(window.stride) are blended, which is summed "
                    + "in fp32, "
                    + "and \(binding.tensor) is \(words(decl))")
        }
    }

    private func decl(_ binding: Binding, _ place: () -> String) throws -> TensorDecl {
        guard let found = decls[binding.tensor] else {
            throw Fault.plan("\(place()) is bound to \(binding.tensor), which is not declared as a tensor")
        }
        return found
    }

    private func checkWhole(_ binding: Binding, _ decl: TensorDecl, _ place: () -> String) throws {
        if let window = binding.windows.first {
            throw Fault.plan("\(place()) is bound whole, and yet to slices of \(window.size)")
        }
        if decl.slots != 1 || decl.streamed != 0 {
            throw Fault.plan("\(place()) is bound whole to \(binding.tensor), which is \(words(decl))")
        }
    }

    private func slots(_ binding: Binding, _ decl: TensorDecl, _ place: () -> String) throws -> Int {
        if decl.slots < 2 {
            throw Fault.plan(
                "\(place()) is bound to slots of \(binding.tensor), which is \(words(decl)); a single "
                    + "tensor is bound "
                    + "by windows")
        }
        return decl.slots
    }

    /// Elements along the window's axis.
    private func extent(
        _ window: Window, _ binding: Binding, _ decl: TensorDecl, _ place: () -> String
    ) throws -> Int {
        guard decl.port.shape.indices.contains(window.axis), decl.slots == 1 else {
            throw Fault.plan(
                "\(place()) slices axis \(window.axis) of \(binding.tensor), which is \(words(decl))")
        }
        return decl.port.shape[window.axis]
    }

    // MARK: against packages

    /// Every call gives each input of every function that it uses once, with the shape and type it wants,
    /// and takes each of its outputs, for one tensor or several.
    func checkFeatures(_ chunks: [Chunk]) throws {
        let known = Dictionary(chunks.map { ($0.id, $0) }) { first, _ in first }
        for segment in program.segments {
            for case .call(let call) in segment.steps {
                guard let chunk = known[call.chunk] else { continue }
                for function in functions(call) { try checkFunction(function, call, chunk) }
            }
        }
    }

    private func functions(_ call: Call) -> [String] {
        var found = [call.function]
        for s in call.switch where !found.contains(s.function) { found.append(s.function) }
        return found
    }

    private func checkFunction(_ function: String, _ call: Call, _ chunk: Chunk) throws {
        let names = ["main"] + chunk.variants.map(\.name)
        guard names.contains(function) else {
            throw Fault.plan(
                "plan: calls function \(words(function)) of \(call.chunk), which has "
                    + "\(words(names.inOrder()))")
        }
        let label = { function == "main" ? call.chunk : "\(call.chunk) (\(function))" }
        let ports = chunk.ports(of: function)
        try checkSide(label, "input", ports.inputs, call.inputs)
        try checkSide(label, "output", ports.outputs, call.outputs)
    }

    private func checkSide(
        _ label: () -> String, _ side: String, _ wanted: [Port], _ given: [Binding]
    ) throws {
        let names = Set(given.map(\.feature))
        guard names.count == wanted.count, wanted.allSatisfy({ names.contains($0.name) }) else {
            throw Fault.plan(
                "plan: chunk \(label()) has \(side)s \(words(wanted.map(\.name).inOrder())), the call binds "
                    + words(names.inOrder()))
        }
        for binding in given {
            guard let port = wanted.first(where: { $0.name == binding.feature }) else { continue }
            try checkFeature(label, port, binding, made: side == "output")
        }
    }

    private func checkFeature(
        _ label: () -> String, _ port: Port, _ binding: Binding, made: Bool
    ) throws {
        guard let whole = decls[binding.tensor]?.port else { return }
        var shape = whole.shape
        for window in binding.windows where shape.indices.contains(window.axis) {
            shape[window.axis] = window.size
        }
        // What is summed in fp32 may be made in fp16.
        let summed = made && port.dtype != .int32 && binding.windows.contains { $0.isBlended }
        if shape == port.shape, whole.dtype == port.dtype || summed { return }
        throw Fault.plan(
            "plan: chunk \(label()), \(port.name) wants \(words(port)), tensor \(binding.tensor) gives "
                + "\(whole.dtype) \(words(shape))")
    }
}

extension Window {
    /// Whether pieces of an output overlap.
    public var isBlended: Bool { count > 1 && stride < size }
}
