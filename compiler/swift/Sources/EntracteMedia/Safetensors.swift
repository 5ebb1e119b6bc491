struct SafetensorsHeader {
    struct Stored { let name: String; let dtype: String; let shape: [Int]; let begin: Int; let sizeBytes: Int }
    let tensors: [Stored] = []
    static let order = ["F16"]
    static let types: [String: ElementType] = [:]
    init(_ file: ReadFile) throws { throw MediaFault("soon") }
}
