import EntractePlan
import Foundation

/// The few rows of a table that are asked for, read from its file, which is never whole in memory.
///
/// The rows are read, not mapped: a file that somebody cuts short while it is mapped ends the process.
enum RowTable {
    /// The rows of those numbers, [1, L, width]. Throws a `Fault` of kind `run`.
    static func gather(
        _ ids: UnsafeMutableBufferPointer<Int32>, _ file: BuildFile, rows: Int, width: Int, dtype: DType
    ) throws -> Tensor {
        if let stray = ids.first(where: { $0 < 0 || Int($0) >= rows }) {
            throw Fault.run("gather_rows: id \(stray) is no row of \(file.name), which has \(rows)")
        }
        guard HostLimits.elements([ids.count, width]) != nil else {
            throw Fault.run("gather_rows: \(ids.count) rows of \(width) numbers are too many")
        }
        let made = Tensor(zeros: [1, ids.count, width], dtype)
        let rowBytes = width * dtype.widthBytes
        guard let table = try? RegularFile(file.path) else {
            throw Fault.run("gather_rows: \(file.path) cannot be read; compile again")
        }
        for (place, id) in ids.enumerated() {
            let bytes = (place * rowBytes)..<((place + 1) * rowBytes)
            let row = UnsafeMutableRawBufferPointer(rebasing: made.bytes[bytes])
            guard (try? table.read(Int(id) * rowBytes, into: row)) == rowBytes else {
                throw Fault.run("gather_rows: \(file.path) ends before row \(id); compile again")
            }
        }
        return made
    }

    static func bytes(_ params: HostParams) -> Int? {
        guard let rows = params.whole("rows"), let width = params.whole("width"), let dtype = dtype(params)
        else { return nil }
        let (numbers, overflows) = rows.multipliedReportingOverflow(by: width)
        let (bytes, overflowsToo) = numbers.multipliedReportingOverflow(by: dtype.widthBytes)
        return overflows || overflowsToo ? nil : bytes
    }

    static func dtype(_ params: HostParams) -> DType? { params.text("dtype").flatMap(DType.init) }
}

extension HostOp {
    static let gatherRows = HostOp(
        name: "gather_rows",
        read: [.tensor("ids", .int32, [1, nil])],
        params: [
            HostParam("file", .file), HostParam("rows", .size), HostParam("width", .size),
            HostParam("dtype", .oneOf(["fp16", "fp32"])),
        ],
        gives: { params, tensors in
            var shape: [Int] = tensors["ids"]?.shape ?? []
            shape.append(params.whole("width") ?? 0)
            return [Port(name: "rows", shape: shape, dtype: RowTable.dtype(params) ?? .fp32)]
        },
        files: ["file"],
        bytes: RowTable.bytes,
        run: { params, inputs, place in
            let ids = try inputs.tensor("ids", "gather_rows")
            let name = params.text("file") ?? ""
            let wanted = RowTable.bytes(params) ?? -1
            guard let file = BuildFile(name, in: place.folder), file.sizeBytes == wanted else {
                throw Fault.run(
                    "gather_rows: there is no table \(name) of \(wanted) bytes in the build folder "
                        + "\(place.folder.path) (or it is a link out of it, or of another size); compile "
                        + "again")
            }
            guard ids.dtype == .int32, let dtype = RowTable.dtype(params) else {
                throw Fault.run("gather_rows: ids is \(ids.dtype), must be int32")
            }
            let rows = try RowTable.gather(
                ids.ints, file, rows: params.whole("rows") ?? 0, width: params.whole("width") ?? 0,
                dtype: dtype)
            return ["rows": rows]
        }
    )
}
