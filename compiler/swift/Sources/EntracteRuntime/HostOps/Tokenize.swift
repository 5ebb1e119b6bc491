import EntractePlan
import EntracteText

/// A text as ids, padded and cut by the tokenizer's own rule (docs/plan-format.md, `tokenize`).
struct TokenRule {
    let length: Int
    let padId: Int
    let padsLeft: Bool
    let side: TruncationSide
    let addSpecialTokens: Bool

    init(_ params: HostParams) {
        length = params.whole("length") ?? 0
        padId = params.whole("pad_id") ?? 0
        padsLeft = params.text("pad_side") == "left"
        side = params.text("truncation_side") == "left" ? .left : .right
        addSpecialTokens = params.flag("add_special_tokens") ?? true
    }

    /// `input_ids`, int32 [1, length], and `mask`, fp32 [1, length]: 1 where a token is. What is cut off
    /// is noted.
    func tensors(
        _ text: String, _ encoder: any Encoder, _ note: (String) -> Void
    ) throws -> [String: Tensor] {
        let ids = try ids(text, encoder, note)
        let made = Tensor(zeros: [1, length], .int32)
        let mask = Tensor(zeros: [1, length], .fp32)
        made.ints.update(repeating: Int32(clamping: padId))
        let begin = padsLeft ? length - ids.count : 0
        for (place, id) in ids.enumerated() {
            made.ints[begin + place] = Int32(clamping: id)
            mask.floats[begin + place] = 1
        }
        return ["input_ids": made, "mask": mask]
    }

    private func ids(_ text: String, _ encoder: any Encoder, _ note: (String) -> Void) throws -> [Int] {
        let marks = addSpecialTokens ? encoder.marksAdded : 0
        guard marks <= length else {
            throw Fault.run(
                "tokenize: length \(length) has no room for the \(marks) marks that the tokenizer adds; "
                    + "give more")
        }
        let whole = try encoder.encode(
            text, addSpecialTokens: addSpecialTokens, atMost: nil, droppingFrom: side)
        var made = whole
        if whole.ids.count > length {
            made = try encoder.encode(
                text, addSpecialTokens: addSpecialTokens, atMost: length, droppingFrom: side)
            note("the text is cut to \(length) tokens; " + Dropped(text, side).told(whole, made))
        }
        guard made.ids.count <= length, made.ids.allSatisfy({ 0...HostLimits.id ~= $0 }) else {
            throw Fault.run("tokenize: the tokenizer gives ids that no int32 holds, or too many of them")
        }
        return made.ids
    }
}

extension TextRule {
    init(_ params: HostParams) {
        self.init(
            segment: params.whole("segment"), scores: params.texts("scores"),
            clean: params.text("clean").flatMap(Cleaning.init), prefix: params.text("prefix") ?? "",
            suffix: params.text("suffix") ?? "")
    }
}

private func encoded(_ text: String, _ params: HostParams, _ place: HostPlace) throws -> [String: Tensor] {
    let text = try TextRule(params).written(text)
    let tokenizer = try BuildTokenizer.open(params.text("tokenizer") ?? "", in: place.folder)
    return try TokenRule(params).tensors(text, tokenizer, place.note)
}

extension HostOp {
    private static let side = HostKind.oneOf(["left", "right"])
    private static let freeParams = [
        HostParam("pad_id", .whole(0...HostLimits.id), isNeeded: false),
        HostParam("pad_side", side, isNeeded: false),
        HostParam("truncation_side", side, isNeeded: false),
        HostParam("add_special_tokens", .flag, isNeeded: false),
        HostParam("segment", .whole(0...HostLimits.segment), isNeeded: false),
        HostParam("scores", .scores, isNeeded: false),
        HostParam("clean", .oneOf(Cleaning.allCases.map(\.rawValue)), isNeeded: false),
        HostParam("prefix", .text, isNeeded: false),
        HostParam("suffix", .text, isNeeded: false),
    ]

    private static let idsAndMask: @Sendable (HostParams, [String: Port]) -> [Port] = { params, _ in
        let shape = [1, params.whole("length") ?? 0]
        return [
            Port(name: "input_ids", shape: shape, dtype: .int32),
            Port(name: "mask", shape: shape, dtype: .fp32),
        ]
    }

    static let tokenize = HostOp(
        name: "tokenize",
        read: [.given("text", .text)],
        params: [HostParam("tokenizer", .file), HostParam("length", .size)] + freeParams,
        gives: idsAndMask,
        files: ["tokenizer"],
        run: { params, inputs, place in
            guard case .text(let text)? = inputs["text"] else {
                throw Fault.run("tokenize: text is none; give one")
            }
            return try encoded(text, params, place)
        }
    )

    /// What one model wrote, as another reads it.
    static let retokenize = HostOp(
        name: "retokenize",
        read: [.tensor("ids", .int32, [1, nil])],
        params: [
            HostParam("decoder", .file), HostParam("tokenizer", .file), HostParam("length", .size),
            HostParam("end", .ids, isNeeded: false),
        ] + freeParams,
        gives: idsAndMask,
        files: ["decoder", "tokenizer"],
        run: { params, inputs, place in
            let ids = try inputs.tensor("ids", "retokenize")
            guard ids.dtype == .int32 else {
                throw Fault.run("retokenize: ids is \(ids.dtype), must be int32")
            }
            let decoder = try BuildTokenizer.open(params.text("decoder") ?? "", in: place.folder)
            let numbers = ids.ints.map(Int.init)
            let text = try BuildTokenizer.text(of: numbers, end: params.wholes("end")) { decoder }
            let stripped = Dropped.stripped(text)
            place.note("the text is " + words(Dropped.shown(stripped)))
            return try encoded(stripped, params, place)
        }
    )
}
