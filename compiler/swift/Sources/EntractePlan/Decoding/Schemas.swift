/// The dataclasses of `compiler/entracte/ir.py` that a plan is made of, and their fields in order.
extension Schema {
    static let port = Schema(0, "Port", "name shape dtype")
    static let work = Schema(1, "Work", "kind flops moved_bytes")
    static let variant = Schema(
        2, "Variant", "name start stop activation_bytes flops moved_bytes work graph inputs outputs")
    static let chunk = Schema(
        3, "Chunk",
        "id graph start stop inputs outputs weight_bytes activation_bytes flops moved_bytes variants work "
            + "compute_unit modules shares")
    static let functionPorts = Schema(4, "FunctionPorts", "function inputs outputs")
    static let package = Schema(
        5, "Package",
        "chunk path digest file_bytes weight_bytes activation_bytes precision compression inputs outputs "
            + "psnr_db functions own_ports arrays")
    static let compared = Schema(
        6, "Compared", "chunk of floor_db db max_error inputs share repaired why")
    static let facts = Schema(
        7, "ChunkFacts", "id weight_bytes activation_bytes load_s exec_s cold_s exec_by")
    static let gate = Schema(8, "Gate", "segment step moment")
    static let load = Schema(
        9, "Load", "chunk segment iterations step gate free_step free_moment")
    static let kept = Schema(10, "Kept", "slower chunks")
    static let policy = Schema(11, "Policy", "name lookahead retain keep driver margin")
    static let schedule = Schema(12, "Schedule", "policy budget_bytes loads resident driver kept")
    static let bar = Schema(
        13, "Bar", "queue label segment iteration step start_s end_s size_bytes")
    static let forecast = Schema(
        14, "Forecast",
        "makespan_s compute_s loading_s stall_s loaded_bytes loads peak_bytes peak_step lower_bound_s "
            + "lower_bound stage_s bars earliest_s stalls resting_s")
    static let target = Schema(
        15, "Target",
        "name title memory_bytes base_footprint_bytes settle_fraction chunk_limit_bytes deployment "
            + "compute_unit load_bandwidth load_overhead_s compute_flops memory_bandwidth call_overhead_s "
            + "sources estimated efficiency cold_bandwidth contention page_bytes reload_on_switch")
    static let plan = Schema(
        16, "Plan",
        "version entracte built pipeline title target settings program chunks packages facts schedule "
            + "forecast files verify compared")
    static let input = Schema(
        17, "Input", "name kind default port choices least most low high fit rate")
    static let output = Schema(
        18, "Output", "name kind values axis rate low high tokenizer end")
    static let window = Schema(19, "Window", "axis size count stride start")
    static let binding = Schema(20, "Binding", "feature tensor by windows")
    static let tensor = Schema(21, "TensorDecl", "port slots streamed")
    static let call = Schema(
        22, "Call", "stage chunk inputs outputs repeat frees function switch at rests_by")
    static let host = Schema(23, "HostStep", "stage op params inputs outputs frees")
    static let segment = Schema(24, "Segment", "name count steps state frees until sliced")
    static let program = Schema(25, "Program", "inputs constants tensors segments outputs")
    static let arrays = Schema(26, "Arrays", "path digest file_bytes ports")
}
