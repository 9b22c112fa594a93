//! From a kernel's name to something that can be launched: code that was built in, code from the cache, or code that NVRTC
//! makes now. Only files whose kernels are asked for are compiled and loaded.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, DriverError};
use cudarc::nvrtc::Ptx;
use elucid_kernels::{HEADERS, Kernel, Source};

use crate::cache::{Cache, Key};
use crate::error::CudaError;
use crate::nvrtc::{Compiler, Kind, OPTIONS};

/// Kernels of one context.
pub struct Modules {
    kind: Kind,
    arch: u32,
    compiler: Option<Compiler>,
    cache: Cache,
    functions: Vec<(&'static str, CudaFunction)>,
    loaded: Vec<(&'static str, Arc<CudaModule>)>,
    notes: Vec<String>,
    /// Whether it was said that the cache can't be written.
    complained: bool,
    compiled: usize,
}

impl Modules {
    /// No kernels yet.
    #[must_use]
    pub fn new(kind: Kind, arch: u32, compiler: Option<Compiler>, cache: Cache) -> Self {
        Self {
            kind,
            arch,
            compiler,
            cache,
            functions: Vec::new(),
            loaded: Vec::new(),
            notes: Vec::new(),
            complained: false,
            compiled: 0,
        }
    }

    /// In a few words, where code comes from.
    #[must_use]
    pub fn describe(&self) -> String {
        let made = match self.kind {
            Kind::Cubin => "machine code",
            Kind::Ptx => "PTX",
        };
        match &self.compiler {
            Some(compiler) => {
                let (major, minor) = compiler.version();
                format!("{made} by NVRTC {major}.{minor}")
            }
            None => format!("{made} that was built in"),
        }
    }

    /// What was noticed since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Files compiled so far.
    #[must_use]
    pub fn compiled(&self) -> usize {
        self.compiled
    }

    /// A kernel that can be launched.
    ///
    /// # Errors
    /// [`CudaError::Compile`] or [`CudaError::NotLoaded`].
    pub fn function(
        &mut self,
        context: &Arc<CudaContext>,
        kernel: &'static Kernel,
    ) -> Result<CudaFunction, CudaError> {
        let known = self.functions.iter().find(|(e, _)| *e == kernel.entry);
        if let Some((_, function)) = known {
            return Ok(function.clone());
        }
        let file = kernel.source.name;
        let module = match self.loaded.iter().find(|(name, _)| *name == file) {
            Some((_, module)) => Arc::clone(module),
            None => {
                let module = self.load(context, kernel.source)?;
                self.loaded.push((file, Arc::clone(&module)));
                module
            }
        };
        let function = module
            .load_function(kernel.entry)
            .map_err(|DriverError(code)| CudaError::NotLoaded {
                file,
                why: format!("{code:?} for {}", kernel.entry),
                ptx: self.kind == Kind::Ptx,
            })?;
        self.functions.push((kernel.entry, function.clone()));
        Ok(function)
    }

    fn load(
        &mut self,
        context: &Arc<CudaContext>,
        source: &'static Source,
    ) -> Result<Arc<CudaModule>, CudaError> {
        if let Some(built_in) = elucid_kernels::fatbin(source.name)
            && self.kind == Kind::Cubin
        {
            match loaded(context, Kind::Cubin, built_in.to_vec(), source) {
                Err(CudaError::NotLoaded { .. }) if self.compiler.is_some() => {
                    // It isn't for this device.
                }
                done => return done,
            }
        }
        let kind = self.kind;
        let Some(compiler) = &self.compiler else {
            return Err(CudaError::NoCompiler { tried: Vec::new() });
        };
        let arch = compiler.architecture(self.arch, kind)?;
        let key = key(source, compiler.version(), arch, kind);
        let stem = source.name.trim_end_matches(".cu");
        let name = match kind {
            Kind::Cubin => format!("{stem}-sm_{arch}"),
            Kind::Ptx => format!("{stem}-compute_{arch}"),
        };
        if let Some(code) = self.cache.get(&name, key)
            && let Ok(module) = loaded(context, kind, code, source)
        {
            return Ok(module);
        }
        let code = compiler.compile(source, arch, kind)?;
        self.compiled += 1;
        let module = loaded(context, kind, code.clone(), source)?;
        if let Err(note) = self.cache.put(&name, key, &code)
            && !self.complained
        {
            self.complained = true;
            self.notes.push(note);
        }
        Ok(module)
    }
}

/// What makes code the same: its sources, and who compiles them how for what.
fn key(source: &Source, version: (u32, u32), arch: u32, kind: Kind) -> Key {
    let who = format!("NVRTC {}.{} {arch} {kind:?}", version.0, version.1);
    let own = [source.name, source.text];
    let headers = HEADERS.iter().flat_map(|h| [h.name, h.text]);
    let how = OPTIONS.iter().copied().chain([who.as_str()]);
    Key::new(own.into_iter().chain(headers).chain(how))
}

fn loaded(
    context: &Arc<CudaContext>,
    kind: Kind,
    code: Vec<u8>,
    source: &'static Source,
) -> Result<Arc<CudaModule>, CudaError> {
    let refused = |why: String| CudaError::NotLoaded {
        file: source.name,
        why,
        ptx: kind == Kind::Ptx,
    };
    let code = match kind {
        Kind::Cubin => Ptx::from_binary(code),
        Kind::Ptx => {
            let text = String::from_utf8(code).ok().filter(|t| !t.contains('\0'));
            Ptx::from_src(text.ok_or_else(|| refused("PTX that is no text".to_owned()))?)
        }
    };
    let made = context.load_module(code);
    made.map_err(|DriverError(code)| refused(format!("{code:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_code_changes_its_key() {
        let source = |name, text| Source { name, text };
        let base = key(&source("a.cu", "x"), (12, 6), 87, Kind::Cubin);
        let others = [
            key(&source("b.cu", "x"), (12, 6), 87, Kind::Cubin),
            key(&source("a.cu", "y"), (12, 6), 87, Kind::Cubin),
            key(&source("a.cu", "x"), (12, 8), 87, Kind::Cubin),
            key(&source("a.cu", "x"), (12, 6), 80, Kind::Cubin),
            key(&source("a.cu", "x"), (12, 6), 87, Kind::Ptx),
        ];
        assert!(others.iter().all(|other| *other != base));
        let again = key(&source("a.cu", "x"), (12, 6), 87, Kind::Cubin);
        assert_eq!(again, base);
    }
}
