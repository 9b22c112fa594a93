//! One allocation on the device, and copies to and from it.
//!
//! On a device that shares memory with the CPU it is managed: the CPU then reads and writes it in place. It is attached to
//! the stream that works on it, so that what other streams do meanwhile is nobody's concern.

use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{CUmemAttach_flags as Attach, CUresult};
use cudarc::driver::{CudaStream, DriverError, result};
use elucid_core::Error;
use elucid_core::error::Buffer;

use crate::driver;
use crate::error::CudaError;

/// Memory that is freed when it is dropped.
pub struct Memory {
    address: u64,
    bytes: u64,
    managed: bool,
    stream: Arc<CudaStream>,
}

impl Memory {
    /// Memory for the work of one stream; what it holds is unknown. Where `managed` memory can't be had, it is the device's.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] or [`CudaError::Driver`].
    pub fn new(stream: &Arc<CudaStream>, bytes: u64, managed: bool) -> Result<Self, CudaError> {
        let bind = stream.context().bind_to_thread();
        bind.map_err(CudaError::driver("cuCtxSetCurrent"))?;
        let found = match managed.then(|| shared(stream, bytes)) {
            Some(Ok(address)) => Ok((address, true)),
            Some(Err(_)) | None => own(bytes).map(|address| (address, false)),
        };
        match found {
            Ok((address, managed)) => Ok(Self {
                address,
                bytes,
                managed,
                stream: Arc::clone(stream),
            }),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, total) = driver::memory();
                Err(CudaError::OutOfMemory {
                    need: bytes,
                    free,
                    total,
                })
            }
            Err(error) => Err(CudaError::driver("cuMemAlloc")(error)),
        }
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the CPU reads and writes it in place.
    pub fn is_managed(&self) -> bool {
        self.managed
    }

    /// Waits until the stream has done everything.
    ///
    /// # Errors
    /// [`CudaError::Driver`]: whatever went wrong in a kernel shows here.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let done = self.stream.synchronize();
        done.map_err(CudaError::driver("cuStreamSynchronize"))
    }

    /// Copies pieces to their offsets, in bytes.
    ///
    /// # Errors
    /// [`Error::Capacity`] for one that isn't inside, or [`CudaError::Driver`].
    pub fn write<'b>(
        &mut self,
        pieces: impl IntoIterator<Item = (u64, &'b [u8])>,
    ) -> Result<(), CudaError> {
        // The CPU may only touch what no kernel works on, and nothing may be overwritten that one still reads.
        self.synchronize()?;
        let mut failed = None;
        for (offset, from) in pieces {
            let to = self.at(offset, from.len())?;
            if from.is_empty() {
                continue;
            }
            let copied = if self.managed {
                // SAFETY: the place lies inside an allocation that the CPU addresses too, as `at` has checked. It is
                // attached to our stream, on which nothing runs, and `&mut self` keeps others away. A Rust slice can't
                // overlap memory that only this struct knows.
                unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
                Ok(())
            } else {
                // SAFETY: the place lies inside our allocation, as `at` has checked, and the stream is waited for below, before
                // the borrow of `from` ends.
                unsafe { result::memcpy_htod_async(to, from, self.stream.cu_stream()) }
            };
            if let Err(error) = copied {
                failed = Some(CudaError::driver("cuMemcpyHtoDAsync")(error));
                break;
            }
        }
        if !self.managed {
            self.synchronize()?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Copies from an offset, once the stream has done everything.
    ///
    /// # Errors
    /// [`Error::Capacity`] for what isn't inside, or [`CudaError::Driver`].
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), CudaError> {
        let from = self.at(offset, to.len())?;
        self.synchronize()?;
        if to.is_empty() {
            return Ok(());
        }
        if self.managed {
            // SAFETY: the place lies inside an allocation that the CPU addresses too, as `at` has checked; nothing runs on
            // the stream that it is attached to. `to` is borrowed exclusively, so the two don't overlap.
            unsafe { ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
            return Ok(());
        }
        // SAFETY: the place lies inside our allocation, as `at` has checked, and the stream is waited for before the borrow of
        // `to` ends.
        let copied = unsafe { result::memcpy_dtoh_async(to, from, self.stream.cu_stream()) };
        // Even if the copy failed: nothing may still be on its way to `to`.
        let done = self.synchronize();
        copied.map_err(CudaError::driver("cuMemcpyDtoHAsync"))?;
        done
    }

    /// Fills `bytes` from an offset with zeros, in the order of the stream.
    ///
    /// # Errors
    /// [`Error::Capacity`] for what isn't inside, or [`CudaError::Driver`].
    pub fn clear(&mut self, offset: u64, bytes: usize) -> Result<(), CudaError> {
        let at = self.at(offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let bind = self.stream.context().bind_to_thread();
        bind.map_err(CudaError::driver("cuCtxSetCurrent"))?;
        // SAFETY: the place lies inside our allocation, as `at` has checked, and the order of the stream keeps kernels away.
        let cleared = unsafe { result::memset_d8_async(at, 0, bytes, self.stream.cu_stream()) };
        cleared.map_err(CudaError::driver("cuMemsetD8Async"))
    }

    /// The address of `bytes` at an offset.
    fn at(&self, offset: u64, bytes: usize) -> Result<u64, CudaError> {
        let need = offset.saturating_add(bytes as u64);
        if need > self.bytes {
            let (buffer, have) = (Buffer::Arena, self.bytes);
            return Err(Error::Capacity { buffer, need, have }.into());
        }
        Ok(self.address + offset)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A driver that fails here has failed before, and nobody is left to be told.
        let _ = self.stream.synchronize();
        // SAFETY: the address came from cuMemAlloc or cuMemAllocManaged, is freed once, and nothing runs on it any more: the
        // only stream that works on it was waited for.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// Memory of the device.
fn own(bytes: u64) -> Result<u64, DriverError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    // SAFETY: what it holds is unknown, and `Memory` says so; bytes have no invalid values.
    unsafe { result::malloc_sync(bytes) }
}

/// Memory of both, attached to the stream.
fn shared(stream: &CudaStream, bytes: u64) -> Result<u64, DriverError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    // SAFETY: as in `own`. The caller asks for it only where driver and device have managed memory.
    let address = unsafe { result::malloc_managed(bytes, Attach::CU_MEM_ATTACH_HOST)? };
    // SAFETY: the stream lives, the address was just made and 0 stands for all of it; only this stream will work on it.
    let attached = unsafe {
        let single = Attach::CU_MEM_ATTACH_SINGLE;
        result::stream::attach_mem_async(stream.cu_stream(), address, 0, single)
    };
    match attached.and_then(|()| stream.synchronize()) {
        Ok(()) => Ok(address),
        Err(error) => {
            // SAFETY: the address was just made, and nobody works on it.
            let _ = unsafe { result::free_sync(address) };
            Err(error)
        }
    }
}
