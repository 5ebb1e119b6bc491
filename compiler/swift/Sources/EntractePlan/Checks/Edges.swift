import Foundation

/// What a plan is given and gives: names, defaults, shapes by kind.
///
/// A name becomes a file's where nobody says another, and is printed; a stranger may have written it.
enum Edges {
    static func check(_ program: Program) throws {
        for given in program.inputs { try check(given) }
        for output in program.outputs {
            try checkName("output", output.name)
            if [.image, .video, .audio].contains(output.kind), output.low == output.high {
                throw Fault.plan(
                    "plan: output \(output.name): black and white are both "
                        + "\(String(format: "%g", output.low))")
            }
        }
    }

    private static func checkName(_ what: String, _ name: String) throws {
        let isLetter = { (c: UInt8) in (65 ... 90).contains(c) || (97 ... 122).contains(c) }
        let isName = name.utf8.first.map(isLetter) == true
            && name.utf8.allSatisfy { isLetter($0) || (48 ... 57).contains($0) || $0 == UInt8(ascii: "_") }
        if isName { return }
        var cut = String.UnicodeScalarView()
        cut.append(contentsOf: name.unicodeScalars.prefix(60))
        throw Fault.plan(
            "plan: an \(what) is called \(words(String(cut))); a name is letters, digits and _, a letter "
                + "first")
    }

    private static func check(_ given: Input) throws {
        try checkName("input", given.name)
        let place = "plan: input \(given.name)"
        if let value = given.default, !isDefault(value, given.kind) {
            throw Fault.plan("\(place): its default \(cut(value)) is none of a \(given.kind.rawValue)")
        }
        guard ["crop", "pad", "stretch"].contains(given.fit) else {
            throw Fault.plan("\(place): its fit is \(cut(.text(given.fit))), not one of crop, pad, stretch")
        }
        if given.kind == .audio, given.rate <= 0 {
            throw Fault.plan("\(place): an audio of \(String(format: "%g", given.rate)) samples a second")
        }
        let shape = given.port?.shape ?? []
        if !hasShape(shape, given.kind) {
            throw Fault.plan("\(place): \(words(shape)) is the shape of no \(given.kind.rawValue)")
        }
    }

    private static func isDefault(_ value: Param, _ kind: Input.Kind) -> Bool {
        switch (value, kind) {
        case (.text, .text), (.text, .choice), (.whole, .seed), (.whole, .choice): true
        case (_, .text), (_, .choice), (_, .seed): false
        case (.whole, _), (.number, _): true
        default: false
        }
    }

    private static func hasShape(_ shape: [Int], _ kind: Input.Kind) -> Bool {
        switch kind {
        case .image: shape.count == 4 && shape[0] == 1 && shape[1] == 3
        case .video: shape.count == 5 && shape[0] == 1 && shape[1] == 3
        case .audio: shape.count == 2 && shape[0] == 1
        default: true
        }
    }

    /// A value's words, at most 60 characters.
    private static func cut(_ value: Param) -> String {
        let text: String =
            switch value {
            case .text(let x): words(x)
            case .whole(let x): String(x)
            case .number(let x): words(x)
            default: "?"
            }
        var out = String.UnicodeScalarView()
        out.append(contentsOf: text.unicodeScalars.prefix(60))
        return String(out)
    }
}
