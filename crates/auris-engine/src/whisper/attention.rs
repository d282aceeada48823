//! The cross-attention of decoded text, which whisper.cpp computes but does not return.
//!
//! The linker redirects three graph-building functions of whisper.cpp to this module (`--wrap` in
//! build.rs). While a [`Capture`] is open on the thread, they keep the scores of the decoder's
//! cross-attention, the only attention without a mask, readable until the next graph. Otherwise
//! they just forward the calls. whisper.cpp has a similar feature (`dtw_token_timestamps`), but
//! only for all requests, and without flash attention.

use std::cell::RefCell;

use whisper_rs::whisper_rs_sys as sys;

type Tensor = *mut sys::ggml_tensor;

/// A head of the decoder's cross-attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) layer: usize,
    pub(super) head: usize,
}

/// The scores of one head before the softmax: one row of positions per token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    pub(super) frames: usize,
    /// Stored row by row.
    pub(super) values: Vec<f32>,
}

#[derive(Default)]
struct Graph {
    heads: Vec<Head>,
    /// The number of layers whose cross-attention has been built.
    layers: usize,
    /// The layer, its scores and their scale.
    scores: Vec<(usize, Tensor, f32)>,
    /// Scores that have not been added to the graph yet.
    loose: Vec<Tensor>,
}

thread_local! {
    static GRAPH: RefCell<Option<Graph>> = const { RefCell::new(None) };
}

/// Captures the scores of the next decode on this thread.
pub(super) struct Capture(());

impl Capture {
    pub(super) fn begin(heads: &[Head]) -> Self {
        let graph = Graph { heads: heads.to_vec(), ..Graph::default() };
        GRAPH.with_borrow_mut(|open| *open = Some(graph));
        Self(())
    }

    /// Returns the scores of each head for the first `frames` positions.
    ///
    /// # Safety
    /// The graph that was built since `begin` must be computed, and must be the newest of its
    /// state.
    pub(super) unsafe fn finish(self, frames: usize, tokens: usize) -> Vec<Scores> {
        let Some(graph) = GRAPH.with_borrow_mut(Option::take) else { return Vec::new() };
        let of_head = |head: &Head| {
            let (_, tensor, scale) = graph.scores.iter().find(|kept| kept.0 == head.layer)?;
            // SAFETY: as the caller promises.
            unsafe { read(*tensor, *scale, head.head, frames, tokens) }
        };
        graph.heads.iter().filter_map(of_head).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        GRAPH.with_borrow_mut(|open| *open = None);
    }
}

/// # Safety
/// The tensor must be computed and still belong to its state's graph.
unsafe fn read(
    tensor: Tensor,
    scale: f32,
    head: usize,
    frames: usize,
    tokens: usize,
) -> Option<Scores> {
    // SAFETY: the tensor lives, as the caller promises.
    let (ne, nb) = unsafe { ((*tensor).ne, (*tensor).nb) };
    let size = |n: i64| usize::try_from(n).unwrap_or(0);
    let row = size(ne[0]);
    if frames > row || tokens > size(ne[1]) || head >= size(ne[2]) {
        return None;
    }
    let mut rows = vec![0.0f32; row * tokens];
    // SAFETY: scores are contiguous f32, and the head's are within the tensor.
    unsafe {
        sys::ggml_backend_tensor_get(
            tensor,
            rows.as_mut_ptr().cast(),
            head * nb[2],
            size_of_val(&rows[..]),
        );
    }
    let values = rows.chunks(row).flat_map(|row| &row[..frames]).map(|score| score * scale);
    Some(Scores { frames, values: values.collect() })
}

/// Captures the scores of the next layer's cross-attention, if wanted. They get a tensor of their
/// own, because ggml plans memory anew only for a graph of another size.
fn next_layer(scale: f32, scores: impl FnOnce() -> Tensor) {
    GRAPH.with_borrow_mut(|graph| {
        let Some(graph) = graph else { return };
        let layer = graph.layers;
        graph.layers += 1;
        if graph.heads.iter().any(|head| head.layer == layer) {
            let scores = scores();
            // SAFETY: the tensor was just made.
            unsafe { sys::ggml_set_output(scores) };
            graph.scores.push((layer, scores, scale));
            graph.loose.push(scores);
        }
    });
}

unsafe extern "C" {
    fn __real_ggml_soft_max_ext(
        context: *mut sys::ggml_context,
        scores: Tensor,
        mask: Tensor,
        scale: f32,
        max_bias: f32,
    ) -> Tensor;
    fn __real_ggml_flash_attn_ext(
        context: *mut sys::ggml_context,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor,
        scale: f32,
        max_bias: f32,
        logit_softcap: f32,
    ) -> Tensor;
    fn __real_ggml_build_forward_expand(graph: *mut sys::ggml_cgraph, tensor: Tensor);
}

/// # Safety
/// That of `ggml_soft_max_ext`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_ggml_soft_max_ext(
    context: *mut sys::ggml_context,
    scores: Tensor,
    mask: Tensor,
    scale: f32,
    max_bias: f32,
) -> Tensor {
    if mask.is_null() {
        // SAFETY: makes a copy of the scores in the same context.
        next_layer(scale, || unsafe { sys::ggml_cont(context, scores) });
    }
    // SAFETY: passes everything on.
    unsafe { __real_ggml_soft_max_ext(context, scores, mask, scale, max_bias) }
}

/// # Safety
/// That of `ggml_flash_attn_ext`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_ggml_flash_attn_ext(
    context: *mut sys::ggml_context,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    scale: f32,
    max_bias: f32,
    logit_softcap: f32,
) -> Tensor {
    if mask.is_null() {
        // Flash attention produces no scores, so they are computed in addition.
        // SAFETY: keys and queries are those of the same attention, as without flash attention.
        next_layer(scale, || unsafe { sys::ggml_mul_mat(context, k, q) });
    }
    // SAFETY: passes everything on.
    unsafe { __real_ggml_flash_attn_ext(context, q, k, v, mask, scale, max_bias, logit_softcap) }
}

/// # Safety
/// That of `ggml_build_forward_expand`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_ggml_build_forward_expand(
    graph: *mut sys::ggml_cgraph,
    tensor: Tensor,
) {
    let loose = GRAPH.with_borrow_mut(|open| {
        open.as_mut().map(|open| std::mem::take(&mut open.loose)).unwrap_or_default()
    });
    // SAFETY: the loose tensors were made in the context of this graph; the rest is passed on.
    unsafe {
        for scores in loose {
            __real_ggml_build_forward_expand(graph, scores);
        }
        __real_ggml_build_forward_expand(graph, tensor);
    }
}
