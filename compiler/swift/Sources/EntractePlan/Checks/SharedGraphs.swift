/// Chunks that share a graph agree: they compute the same, and their packages are one graph and as many files
/// of arrays (`compiler/entracte/plan/shared.py`).
enum SharedGraphs {
    static func check(_ plan: Plan) throws {
        let chunks = Dictionary(plan.chunks.map { ($0.id, $0) }) { first, _ in first }
        let packages = Dictionary(plan.packages.map { ($0.chunk, $0) }) { first, _ in first }
        for chunk in plan.chunks where !chunk.shares.isEmpty { try check(chunk, chunks[chunk.shares]) }
        for package in plan.packages {
            guard let chunk = chunks[package.chunk] else { continue }
            guard (package.arrays != nil) == !chunk.shares.isEmpty else {
                throw Fault.plan(
                    "plan: package \(package.path) has \(package.arrays != nil ? "" : "no ")arrays, and chunk "
                        + "\(chunk.id) shares \(chunk.shares.isEmpty ? "no graph" : chunk.shares)")
            }
            if let arrays = package.arrays, let first = packages[chunk.shares] {
                try check(package, arrays, first)
            }
        }
    }

    private static func check(_ chunk: Chunk, _ first: Chunk?) throws {
        let place = "plan: chunk \(chunk.id) shares \(words(chunk.shares))"
        guard let first, first.shares == first.id, first.graph == chunk.graph else {
            throw Fault.plan("\(place), which is no first chunk of its stage that others are like")
        }
        if !chunk.variants.isEmpty {
            throw Fault.plan("\(place), and has functions beside main; a shared graph has none")
        }
        for (what, own, theirs) in [
            ("inputs", chunk.inputs, first.inputs), ("outputs", chunk.outputs, first.outputs),
        ] where !areAlike(own, theirs) {
            throw Fault.plan("\(place), but their \(what) are not of the same shapes and types")
        }
        for (what, own, theirs) in [
            ("weight_bytes", chunk.weightBytes, first.weightBytes), ("flops", chunk.flops, first.flops),
            ("activation_bytes", chunk.activationBytes, first.activationBytes),
        ] where own != theirs {
            throw Fault.plan("\(place), but their \(what) are \(own) and \(theirs)")
        }
    }

    private static func areAlike(_ a: [Port], _ b: [Port]) -> Bool {
        a.count == b.count && zip(a, b).allSatisfy { $0.shape == $1.shape && $0.dtype == $1.dtype }
    }

    private static func check(_ package: Package, _ arrays: Arrays, _ first: Package) throws {
        let place = "plan: arrays \(arrays.path)"
        for (what, own, theirs) in [
            ("path", words(package.path), words(first.path)),
            ("digest", words(package.digest), words(first.digest)),
            ("file_bytes", "\(package.fileBytes)", "\(first.fileBytes)"),
            ("activation_bytes", "\(package.activationBytes)", "\(first.activationBytes)"),
            ("compression", words(package.compression), words(first.compression)),
        ] where own != theirs {
            throw Fault.plan("\(place): the graph's \(what) is \(own), of \(first.chunk) \(theirs)")
        }
        if package.compression != "none" {
            throw Fault.plan("\(place): inputs of a graph are not compressed (\(package.compression))")
        }
        guard arrays.ports == first.arrays?.ports else {
            throw Fault.plan("\(place): they are others than those of \(first.chunk)")
        }
        try check(arrays, weightBytes: package.weightBytes, place)
    }

    /// Their names, order and sizes.
    private static func check(_ arrays: Arrays, weightBytes: Int, _ place: String) throws {
        guard arrays.ports.map(\.name).sorted() == arrays.ports.indices.map({ "w\($0)" }).sorted() else {
            throw Fault.plan("\(place): their names are not w0, w1, ..., each once")
        }
        let widths = arrays.ports.map(\.dtype.widthBytes)
        guard zip(widths, widths.dropFirst()).allSatisfy({ $0 >= $1 }) else {
            throw Fault.plan("\(place): those of wider types do not come first")
        }
        guard Paths.isSHA256(arrays.digest) else {
            throw Fault.plan("\(place): they have no SHA-256 but \(words(arrays.digest))")
        }
        let layout = ArraysLayout(arrays.ports), heldBytes = layout.dataBytes
        guard heldBytes == weightBytes else {
            throw Fault.plan("\(place): \(heldBytes) bytes, the package says \(weightBytes)")
        }
        let wantedBytes = plus(layout.header.count, heldBytes)
        guard arrays.fileBytes == wantedBytes else {
            throw Fault.plan("\(place): a file of \(arrays.fileBytes) bytes, they make \(wantedBytes)")
        }
    }
}
